package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// checkEvery is for how long the rights of the login, once found right, are trusted.
const checkEvery = time.Minute

// Check tells whether the login has the rights that it must have, and no other. It is
// ErrSandboxUnsafe if not, and says what to do.
func (s *Sandbox) Check(ctx context.Context) error {
	conn, err := pgconn.ConnectConfig(ctx, s.config)
	if err != nil {
		return connectError(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return checkLogin(ctx, conn)
}

// checkOn checks the login again, if the last time is long ago.
func (s *Sandbox) checkOn(ctx context.Context, c *sandboxConn) error {
	s.mu.Lock()
	isFresh := time.Since(s.checked) < checkEvery
	s.mu.Unlock()
	if isFresh {
		return nil
	}
	if err := checkLogin(ctx, c.PgConn); err != nil {
		return err
	}
	s.mu.Lock()
	s.checked = time.Now()
	s.mu.Unlock()
	return nil
}

// loginRights are, a column each: the login; whether it may read analytics; its
// attributes; what it is a member of; what it may read or change besides analytics; and
// what runs with other rights than its own when it calls it. What extensions brought
// is for everybody, and none of ours.
const loginRights = `
SELECT current_user,
       coalesce((SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                 FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
                 WHERE n.nspname = 'analytics' AND c.relname = 'sessions'), false),
       concat_ws(', ', CASE WHEN r.rolsuper THEN 'SUPERUSER' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END,
                 CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolreplication THEN 'REPLICATION' END,
                 CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END),
       (SELECT string_agg(g.rolname, ', ' ORDER BY g.rolname) FROM pg_catalog.pg_roles g
        WHERE g.oid <> r.oid AND g.rolname <> 'rapport_reader' AND pg_has_role(g.oid, 'MEMBER')),
       (SELECT string_agg(name, ', ') FROM (
            SELECT format('%I.%I', n.nspname, c.relname) AS name
            FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND has_schema_privilege(n.oid, 'USAGE')
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
                              AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
              AND CASE WHEN n.nspname = 'analytics' THEN has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                       WHEN n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast')
                       THEN has_any_column_privilege(c.oid, 'SELECT') AND NOT has_any_column_privilege('public', c.oid, 'SELECT')
                       WHEN c.relkind = 'S' THEN has_sequence_privilege(c.oid, 'USAGE, SELECT, UPDATE')
                       ELSE has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(c.oid, 'DELETE, TRUNCATE') END
            ORDER BY 1 LIMIT 5) AS more),
       (SELECT string_agg(name, ', ') FROM (
            SELECT format('%I.%I', n.nspname, p.proname) AS name
            FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'analytics')
              AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'
                              AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
            ORDER BY 1 LIMIT 5) AS callable)
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`

// checkLogin asks for the rights of whoever a connection is.
func checkLogin(ctx context.Context, conn *pgconn.PgConn) error {
	result := conn.ExecParams(ctx, loginRights, nil, nil, nil, nil).Read()
	if result.Err != nil {
		return fmt.Errorf("reading the rights of the login for SQL: %w", result.Err)
	}
	var has []string
	for _, value := range result.Rows[0] {
		has = append(has, string(value))
	}
	role, reads, attributes, member, sees, calls := has[0], has[1], has[2], has[3], has[4], has[5]
	var wrong []string
	if attributes != "" {
		wrong = append(wrong, "it has "+attributes)
	} else if member != "" { // which a superuser is of everything
		wrong = append(wrong, "it is a member of "+member)
	}
	if sees != "" && attributes == "" {
		wrong = append(wrong, "it has rights on "+sees)
	}
	if calls != "" && attributes == "" {
		wrong = append(wrong, "it may call "+calls)
	}
	if reads != "t" {
		wrong = append(wrong, "it can't read the schema analytics: run `rapport migrate` as the owner, which grants that to rapport_sql")
	}
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %s; see rapport db roles", ErrSandboxUnsafe, role, strings.Join(wrong, "; "))
}
