import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Properties;

/**
 * Walks the metadata of a database as BI tools do that connect with JDBC, Metabase among
 * them: schemas, tables, columns and functions, each with its remarks, a line each with
 * tabs between. The password is read from the environment.
 *
 *   PGPASSWORD=... java -cp postgresql.jar Walk.java jdbc:postgresql://host:port/rapport login
 */
public class Walk {
    public static void main(String[] args) throws SQLException {
        Properties login = new Properties();
        login.setProperty("user", args[1]);
        login.setProperty("password", System.getenv("PGPASSWORD"));
        login.setProperty("hideUnprivilegedObjects", "true");
        try (Connection connection = DriverManager.getConnection(args[0], login)) {
            DatabaseMetaData metadata = connection.getMetaData();
            print("schema", metadata.getSchemas(), "TABLE_SCHEM");
            String[] kinds = {"TABLE", "PARTITIONED TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SEQUENCE"};
            print("table", metadata.getTables(null, null, "%", kinds), "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE", "REMARKS");
            print("column", metadata.getColumns(null, "analytics", "%", "%"), "TABLE_NAME", "COLUMN_NAME", "TYPE_NAME", "REMARKS");
            print("function", metadata.getFunctions(null, null, "%"), "FUNCTION_SCHEM", "FUNCTION_NAME", "REMARKS");
        }
    }

    private static void print(String what, ResultSet rows, String... columns) throws SQLException {
        while (rows.next()) {
            StringBuilder line = new StringBuilder(what);
            for (String column : columns) {
                String value = rows.getString(column);
                line.append('\t').append(value == null ? "" : value.replace('\t', ' ').replace('\n', ' '));
            }
            System.out.println(line);
        }
        rows.close();
    }
}
