package store

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// Transport is how a database URL has its connections protected.
type Transport string

// From the weakest to the strongest.
const (
	Plain      Transport = "plain"      // none
	Perhaps    Transport = "perhaps"    // TLS where the server offers it
	Unverified Transport = "unverified" // TLS with whoever answers
	Verified   Transport = "verified"   // TLS with a certificate that was checked
)

// TransportOf tells how connections by a URL are protected, and whether they leave the
// machine. It connects to nobody.
func TransportOf(url string) (transport Transport, isRemote bool, err error) {
	config, err := parseURL(url)
	if err != nil {
		return "", false, err
	}
	conn := config.ConnConfig
	ip := net.ParseIP(conn.Host)
	isRemote = !strings.HasPrefix(conn.Host, "/") && conn.Host != "localhost" && (ip == nil || !ip.IsLoopback())
	if conn.TLSConfig == nil {
		return Plain, isRemote, nil // sslmode=allow tries that first
	}
	for _, fallback := range conn.Fallbacks {
		if fallback.TLSConfig == nil {
			return Perhaps, isRemote, nil
		}
	}
	// pgx checks the chain by itself for verify-ca.
	if conn.TLSConfig.InsecureSkipVerify && conn.TLSConfig.VerifyPeerCertificate == nil {
		return Unverified, isRemote, nil
	}
	return Verified, isRemote, nil
}

// Condition is what a database is and how it runs, whatever its schema is.
type Condition struct {
	Major    int    // of Postgres's version
	Version  string // all of it
	At       time.Time
	Settings map[string]string // those that durability rests on
	Standby  bool              // it can't be written
	TLS      bool              // this connection has it
}

// Condition asks the database.
func (db *DB) Condition(ctx context.Context) (Condition, error) {
	var c Condition
	var number int
	var fsync, fullPageWrites, commit string
	err := db.keepers.QueryRow(ctx, `
SELECT current_setting('server_version_num')::integer, current_setting('server_version'), clock_timestamp(),
       current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery(),
       coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)`).
		Scan(&number, &c.Version, &c.At, &fsync, &fullPageWrites, &commit, &c.Standby, &c.TLS)
	if err != nil {
		return Condition{}, fmt.Errorf("asking the database for its condition: %w", err)
	}
	c.Major = number / 10000
	c.Settings = map[string]string{"fsync": fsync, "full_page_writes": fullPageWrites, "synchronous_commit": commit}
	return c, nil
}

// Rights are what the roles of a migrated database may do.
type Rights struct {
	Role            string
	Superuser       bool     // Role is one
	ChangesEvents   bool     // Role may change or remove an event
	PublicCreates   bool     // every role may create objects in the schema public
	Reader          bool     // there is a role rapport_reader that can read analytics
	ReaderSees      []string // tables and views outside of analytics that it can read
	PublicFunctions []string // functions that append or change, which every role may call
}

// Rights asks the database.
func (db *DB) Rights(ctx context.Context) (Rights, error) {
	var r Rights
	err := db.pool.QueryRow(ctx, `
SELECT current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       has_table_privilege('public.events', 'UPDATE') OR has_table_privilege('public.events', 'DELETE')
           OR has_table_privilege('public.events', 'TRUNCATE'),
       has_schema_privilege('public', 'public', 'CREATE'),
       coalesce((SELECT has_schema_privilege(rolname, 'analytics', 'USAGE') AND has_table_privilege(rolname, 'analytics.sessions', 'SELECT')
                 FROM pg_roles WHERE rolname = 'rapport_reader'), false),
       ARRAY(SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_roles r ON r.rolname = 'rapport_reader'
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('analytics', 'pg_catalog', 'information_schema')
               AND n.nspname NOT LIKE 'pg\_%' AND has_schema_privilege(r.oid, n.oid, 'USAGE')
               AND has_any_column_privilege(r.oid, c.oid, 'SELECT') ORDER BY 1),
       ARRAY(SELECT DISTINCT p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = 'public' AND p.prosecdef AND has_function_privilege('public', p.oid, 'EXECUTE') ORDER BY 1)`).
		Scan(&r.Role, &r.Superuser, &r.ChangesEvents, &r.PublicCreates, &r.Reader, &r.ReaderSees, &r.PublicFunctions)
	if err != nil {
		return Rights{}, fmt.Errorf("reading the rights of the roles: %w", err)
	}
	return r, nil
}

// QuarantinedSince counts the bodies that came to the quarantine since a time.
func (db *DB) QuarantinedSince(ctx context.Context, since time.Time) (n int64, err error) {
	err = db.pool.QueryRow(ctx, "SELECT count(*) FROM quarantine WHERE first_seen_at >= $1", since).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting what came to the quarantine: %w", err)
	}
	return n, nil
}

// SpoolDrainedTo is up to which record a spool is known to be in the log or in the
// quarantine; 0 if none is.
func (db *DB) SpoolDrainedTo(ctx context.Context, spool string) (to int64, err error) {
	err = db.pool.QueryRow(ctx, "SELECT coalesce(max(drained_to), 0) FROM spools WHERE id = $1", spool).Scan(&to)
	if err != nil {
		return 0, fmt.Errorf("asking how far a spool is drained: %w", err)
	}
	return to, nil
}
