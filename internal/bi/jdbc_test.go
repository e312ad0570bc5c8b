//go:build jdbc

// It needs Java and the JDBC driver of Postgres: make test-jdbc.

package bi

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"rapport/internal/sqldocs"
	"rapport/store"
	"rapport/store/embedpg"
	"rapport/store/storetest"
)

// TestJDBCFindsTheSchemaAndNothingElseOfOurs as a login of its own in rapport_reader.
func TestJDBCFindsTheSchemaAndNothingElseOfOurs(t *testing.T) {
	t.Parallel()
	pg := listening(t)
	if _, err := store.Migrate(t.Context(), pg.URL("rapport_owner")); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), pg.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	catalogue, err := sqldocs.Read(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	link, err := url.Parse(pg.ListenURL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := link.User.Password()
	for _, login := range []string{"rapport_reader", "metabase"} {
		found := walk(t, link.Host, login, password)
		want := wanted(catalogue)
		for _, line := range want {
			if !slices.Contains(found, line) {
				t.Errorf("%s doesn't find %q", login, line)
			}
		}
		for _, line := range found {
			if !slices.Contains(want, line) {
				t.Errorf("%s finds %q", login, line)
			}
		}
	}
}

// listening is a private Postgres with a port, where the login metabase may connect, too.
func listening(t *testing.T) *embedpg.Server {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	dir := t.TempDir()
	for _, above := range []string{dir, filepath.Dir(dir)} { // Postgres runs as another user
		if err := os.Chmod(above, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	pg, err := embedpg.Start(t.Context(), embedpg.Config{DataDir: dir, Ephemeral: true, Listen: address, Logger: storetest.Logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop(t.Context()) })
	hba, err := os.OpenFile(filepath.Join(dir, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hba.WriteString("host all metabase 127.0.0.1/32 scram-sha-256\n"); err != nil {
		t.Fatal(err)
	}
	_ = hba.Close()
	link, err := url.Parse(pg.ListenURL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := link.User.Password()
	conn, err := pgx.Connect(t.Context(), pg.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, sql := range []string{fmt.Sprintf("CREATE ROLE metabase LOGIN PASSWORD '%s' IN ROLE rapport_reader", password), "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return pg
}

// driver is where Debian's libpostgresql-jdbc-java has it.
const driver = "/usr/share/java/postgresql.jar:/usr/share/java/scram-client.jar:/usr/share/java/scram-common.jar:/usr/share/java/saslprep.jar:/usr/share/java/stringprep.jar"

// walk tells what the client finds that is not Postgres's own.
func walk(t *testing.T, address, login, password string) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "java", "-cp", driver, "../../deploy/metabase/Walk.java", "jdbc:postgresql://"+address+"/rapport", login)
	command.Env = append(os.Environ(), "PGPASSWORD="+password)
	var failure strings.Builder
	command.Stderr = &failure
	out, err := command.Output()
	if err != nil {
		t.Fatalf("the JDBC client: %v\n%s", err, failure.String())
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSuffix(line, "\n")
		if cells := strings.Split(line, "\t"); !slices.Contains([]string{"pg_catalog", "information_schema"}, cells[1]) {
			found = append(found, line)
		}
	}
	return found
}

// wanted are the lines of what there is in the schema analytics, and the empty schema
// public, which every role may look into.
func wanted(c sqldocs.Catalogue) []string {
	lines := []string{"schema\tanalytics", "schema\tpublic"}
	types := strings.NewReplacer("timestamp with time zone", "timestamptz", "bigint", "int8", "integer", "int4", "boolean", "bool", "double precision", "float8")
	for _, v := range c.Views {
		lines = append(lines, strings.Join([]string{"table", "analytics", v.Name, "VIEW", v.Comment}, "\t"))
		for _, column := range v.Columns {
			lines = append(lines, strings.Join([]string{"column", v.Name, column.Name, types.Replace(column.Type), column.Comment}, "\t"))
		}
	}
	for _, f := range c.Functions {
		lines = append(lines, strings.Join([]string{"function", "analytics", f.Name, f.Remarks()}, "\t"))
	}
	return lines
}
