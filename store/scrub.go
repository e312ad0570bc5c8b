package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// scrubPatience is for how long a table's readers, an old transaction or a segment of
// WAL are waited for.
const scrubPatience = 2 * time.Minute

// scrubber rewrites the files of a database.
type scrubber struct {
	conn *pgx.Conn
	told func(string)
	said []string // warnings of Postgres, since they were last looked at
	left []string // for the operator to do
}

// Scrub rewrites the tables that had what was erased, and recycles WAL: a DELETE or
// an UPDATE leaves the old rows in the files, and VACUUM the bytes of them. It needs
// the role that owns the schema; what takes a superuser (the catalogue of statistics,
// WAL) is done as far as the role may. It returns, a sentence each, what is left for
// the operator to do. told, if not nil, hears what is about to be done.
//
// While a table is rewritten nobody else can use it. It is waited for by whoever
// comes, for seconds; deliveries then go to the spool.
func Scrub(ctx context.Context, url string, told func(string)) (left []string, err error) {
	if told == nil {
		told = func(string) {}
	}
	s := &scrubber{told: told}
	if err := s.connect(ctx, url); err != nil {
		return nil, err
	}
	defer closeConn(s.conn)
	for _, step := range []func(context.Context) error{s.keepRebuildsOut, s.awaitOld, s.rewriteAll, s.lookForStrays, s.recycle} {
		if err := step(ctx); err != nil {
			return s.left, fmt.Errorf("rewriting the files of the database: %w", err)
		}
	}
	return s.left, nil
}

func (s *scrubber) connect(ctx context.Context, url string) error {
	pool, err := parseURL(url)
	if err != nil {
		return err
	}
	config := pool.ConnConfig
	for name, value := range map[string]string{
		"application_name": applicationName + " erase", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0",
		"lock_timeout": "1s", // whoever comes meanwhile waits behind us
	} {
		config.RuntimeParams[name] = value
	}
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if notice.SeverityUnlocalized == "WARNING" {
			s.said = append(s.said, notice.Message)
		}
	}
	if s.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	return nil
}

// await asks until the answer is true, or for scrubPatience.
func (s *scrubber) await(ctx context.Context, sql string, args ...any) (bool, error) {
	for deadline := time.Now().Add(scrubPatience); ; {
		var done bool
		if err := s.conn.QueryRow(ctx, sql, args...).Scan(&done); err != nil || done {
			return done, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return false, err
		}
	}
}

// keepRebuildsOut takes the lock of rebuilds, until the connection is closed: the tables
// of one have what was there when it began.
func (s *scrubber) keepRebuildsOut(ctx context.Context) error {
	locked, err := s.await(ctx, "SELECT pg_try_advisory_lock(hashtextextended('rapport rebuild', 0))")
	if err == nil && !locked {
		err = ErrRebuilding
	}
	return err
}

// awaitOld waits for whoever can still see the rows as they were: rewriting a table
// keeps these for them.
func (s *scrubber) awaitOld(ctx context.Context) error {
	var now int64
	if err := s.conn.QueryRow(ctx, "SELECT pg_current_xact_id()::text::bigint & 4294967295").Scan(&now); err != nil {
		return err
	}
	gone, err := s.await(ctx, `SELECT NOT EXISTS (
			SELECT FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid() AND coalesce(a.datname, current_database()) = current_database()
			  AND (age(a.backend_xmin) > age($1::text::xid) OR age(a.backend_xid) > age($1::text::xid)))
		AND NOT EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.database = current_database())
		AND NOT EXISTS (SELECT FROM pg_replication_slots r WHERE age(r.xmin) > age($1::text::xid))`, fmt.Sprint(now))
	if err != nil {
		return err
	}
	var sees bool
	if err := s.conn.QueryRow(ctx, "SELECT pg_has_role('pg_read_all_stats', 'USAGE')").Scan(&sees); err != nil {
		return err
	}
	if !sees { // else it knows of all transactions
		s.leave("run this again if a transaction of another role has been open since before the erasure (see pg_stat_activity.backend_xmin)")
	}
	if !gone {
		return errors.New("a transaction that began before the erasure still sees the old rows (see pg_stat_activity.backend_xmin): end it, and run this again")
	}
	return nil
}

// rewriteAll rewrites the months with stubs, what is beside the log, and at last the
// planner's statistics, of which the erasure has made new ones.
func (s *scrubber) rewriteAll(ctx context.Context) error {
	months, err := s.monthsWithStubs(ctx)
	if err != nil {
		return err
	}
	tables := append(months, "public.sessions", "public.session_texts", "public.superseded", "public.dead_letters",
		"public.message_search", "public.event_counts", "public.quarantine", "pg_catalog.pg_statistic")
	for _, table := range tables {
		s.told("rewriting " + table)
		if err := s.rewrite(ctx, table); err != nil {
			return err
		}
	}
	return nil
}

func (s *scrubber) monthsWithStubs(ctx context.Context) ([]string, error) {
	rows, err := s.conn.Query(ctx, `SELECT format('%I.%I', n.nspname, c.relname) FROM pg_inherits i
		JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE i.inhparent = 'public.events'::regclass ORDER BY c.relname`)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	var months []string
	for _, month := range all {
		var has bool
		if err := s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+month+" WHERE erasure IS NOT NULL)").Scan(&has); err != nil {
			return nil, err
		}
		if has {
			months = append(months, month)
		}
	}
	return months, nil
}

// rewrite waits for the table's users, a second at a time.
func (s *scrubber) rewrite(ctx context.Context, table string) error {
	s.said = nil
	for deadline := time.Now().Add(scrubPatience); ; {
		_, err := s.conn.Exec(ctx, "VACUUM (FULL) "+table)
		switch {
		case err == nil && len(s.said) > 0:
			s.leave("rewrite %s as a superuser: VACUUM (FULL) %s (%s)", table, table, strings.Join(s.said, "; "))
			return nil
		case !isContention(err) || time.Now().After(deadline):
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (s *scrubber) leave(format string, args ...any) {
	s.left = append(s.left, fmt.Sprintf(format, args...))
}

// lookForStrays tells of files that no table has. When Postgres is killed while a table
// is rewritten or rebuilt, the new file stays for ever, with what was live then.
func (s *scrubber) lookForStrays(ctx context.Context) error {
	if may, err := s.isSuperuser(ctx); err != nil || !may {
		return err
	}
	before, err := s.strays(ctx)
	if err != nil || len(before) == 0 {
		return err
	}
	if err := s.awaitOld(ctx); err != nil { // whoever is making a table has it by now
		return err
	}
	after, err := s.strays(ctx)
	if err != nil {
		return err
	}
	after = slices.DeleteFunc(after, func(file string) bool { return !slices.Contains(before, file) })
	if len(after) > 0 {
		s.leave("delete these files of Postgres's data directory while it is stopped: no table has them, but what a crash "+
			"interrupted may have left texts there: %s", strings.Join(after, ", "))
	}
	return nil
}

func (s *scrubber) strays(ctx context.Context) ([]string, error) {
	rows, err := s.conn.Query(ctx, `
		SELECT 'base/' || d.oid || '/' || file FROM pg_database d, pg_ls_dir('base/' || d.oid, true, false) file
		WHERE d.datname = current_database() AND file ~ '^[0-9]+([.][0-9]+)?$'
		  AND (pg_stat_file('base/' || d.oid || '/' || file, true)).size > 0
		  AND split_part(file, '.', 1)::oid NOT IN (
		      SELECT pg_relation_filenode(c.oid) FROM pg_class c WHERE pg_relation_filenode(c.oid) IS NOT NULL)
		ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (s *scrubber) isSuperuser(ctx context.Context) (is bool, err error) {
	err = s.conn.QueryRow(ctx, "SELECT usesuper FROM pg_user WHERE usename = current_user").Scan(&is)
	return is, err
}

// recycle gets rid of the WAL so far. Old segments are used again under new names, with
// their old bytes, unless that is turned off; those that wait for it already are
// written over.
func (s *scrubber) recycle(ctx context.Context) error {
	s.told("recycling WAL")
	may, err := s.isSuperuser(ctx)
	if err != nil {
		return err
	}
	if !may {
		s.leave("look for files in Postgres's data directory that no table has: what a crash interrupted may have left texts there")
		s.leave("get rid of the WAL so far, as an administrator: ALTER SYSTEM SET wal_recycle = off, reload, " +
			"pg_switch_wal() and CHECKPOINT until no segment of now is left, and wal_recycle back; then archives of WAL, replicas and backups")
		return nil
	}
	if err := s.run(ctx, "ALTER SYSTEM SET wal_recycle = off", "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	defer func() {
		_ = s.run(context.WithoutCancel(ctx), "ALTER SYSTEM RESET wal_recycle", "SELECT pg_reload_conf()")
	}()
	if err := s.awaitNoRecycling(ctx); err != nil {
		return err
	}
	var last string
	if err := s.conn.QueryRow(ctx, "SELECT max(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'").Scan(&last); err != nil {
		return err
	}
	return s.passSegments(ctx, last)
}

// awaitNoRecycling waits until the setting is in force. A checkpoint that begins before may
// still use old segments again, under greater names than there were: so one is made here.
func (s *scrubber) awaitNoRecycling(ctx context.Context) error {
	for deadline := time.Now().Add(scrubPatience); ; {
		var setting string
		if err := s.conn.QueryRow(ctx, "SELECT current_setting('wal_recycle')").Scan(&setting); err != nil {
			return err
		}
		if setting == "off" || time.Now().After(deadline) {
			return s.run(ctx, "CHECKPOINT")
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// passSegments writes WAL until there is none up to a segment.
func (s *scrubber) passSegments(ctx context.Context, last string) error {
	for deadline := time.Now().Add(scrubPatience); ; {
		for {
			if err := s.run(ctx, "SELECT pg_logical_emit_message(false, 'rapport', '')", "SELECT pg_switch_wal()"); err != nil {
				return err
			}
			var passed bool
			err := s.conn.QueryRow(ctx, "SELECT pg_walfile_name(pg_current_wal_insert_lsn()) > $1", last).Scan(&passed)
			if err != nil {
				return err
			}
			if passed {
				break
			}
		}
		if err := s.run(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		var left int64
		if err := s.conn.QueryRow(ctx, "SELECT count(*) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' AND name <= $1", last).Scan(&left); err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			s.leave("get rid of %d segments of WAL up to %s, which something keeps: a replication slot, archiving, or wal_keep_size", left, last)
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *scrubber) run(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
