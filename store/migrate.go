package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"rapport"
	"rapport/migrations"
	"rapport/store/internal/dbsqlc"
)

// ErrSchemaOld says that the database lacks migrations of this binary.
var ErrSchemaOld = errors.New("the database's schema is older than this rapport: run `rapport migrate` as the schema's owner")

// ErrSchemaNew says that the database has migrations that this binary doesn't know.
var ErrSchemaNew = errors.New("the database's schema is newer than this rapport: run a newer rapport")

// ErrNotOwner says that the role may not migrate.
var ErrNotOwner = errors.New("this role may not change the database's schema: set RAPPORT_OWNER_DATABASE_URL to the role that owns it, and run `rapport migrate`")

// ErrNotServer says that the role may not do what a server does.
var ErrNotServer = errors.New("this role has no rights on the database: use rapport_server, or GRANT rapport_server TO it")

// Migrated tells what Migrate did.
type Migrated struct {
	Version int64 // of the schema now
	Applied int   // migrations applied by this call

	// Warnings say what the owner may not do, and an administrator should.
	Warnings []string
}

// Migrate brings the schema of a database up to date, as its owner, and gives
// the roles their rights. Several processes may call it at once: they wait for
// each other. A schema newer than this binary is ErrSchemaNew, a role without
// the rights ErrNotOwner.
func Migrate(ctx context.Context, ownerURL string) (Migrated, error) {
	migrated, err := migrate(ctx, ownerURL)
	if sqlState(err) == insufficientPrivilege {
		return migrated, fmt.Errorf("%w (%w)", ErrNotOwner, err)
	}
	return migrated, err
}

const insufficientPrivilege = "42501"

func migrate(ctx context.Context, ownerURL string) (Migrated, error) {
	var warnings []string
	db, err := openOwner(ctx, ownerURL, func(_ *pgconn.PgConn, notice *pgconn.Notice) {
		if notice.SeverityUnlocalized == "WARNING" {
			warnings = append(warnings, notice.Message)
		}
	})
	if err != nil {
		return Migrated{}, err
	}
	defer db.Close()
	if err := checkEncoding(ctx, db); err != nil {
		return Migrated{}, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return Migrated{}, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, goose.WithSessionLocker(locker))
	if err != nil {
		return Migrated{}, fmt.Errorf("reading the migrations: %w", err)
	}
	latest := latestVersion(provider)
	if version, err := provider.GetDBVersion(ctx); err != nil {
		return Migrated{}, fmt.Errorf("reading the schema's version: %w", err)
	} else if version > latest {
		return Migrated{}, ErrSchemaNew
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return Migrated{}, fmt.Errorf("migrating the database: %w", err)
	}
	if err := settle(ctx, db); err != nil {
		return Migrated{}, err
	}
	return Migrated{Version: latest, Applied: len(results), Warnings: warnings}, nil
}

func openOwner(ctx context.Context, url string, onNotice pgconn.NoticeHandler) (*sql.DB, error) {
	pool, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	config := pool.ConnConfig
	config.OnNotice = onNotice
	config.RuntimeParams["statement_timeout"] = "0" // a migration takes the time that it needs
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	db := stdlib.OpenDB(*config)
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	return db, nil
}

// checkEncoding refuses a database that can't hold every text.
func checkEncoding(ctx context.Context, db *sql.DB) error {
	var encoding string
	if err := db.QueryRowContext(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return fmt.Errorf("reading the database's encoding: %w", err)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the database's encoding is %s: create it with ENCODING 'UTF8' TEMPLATE template0", encoding)
	}
	return nil
}

// settle gives a new database its settings, and everybody their rights.
func settle(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	defer func() { _ = conn.Close() }()
	return conn.Raw(func(driver any) error {
		return pgx.BeginFunc(ctx, driver.(*stdlib.Conn).Conn(), func(tx pgx.Tx) error {
			// Grants on one object, made by two at once, fail in Postgres.
			if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('rapport grants', 0))"); err != nil {
				return fmt.Errorf("waiting for another migration: %w", err)
			}
			if err := dbsqlc.New(tx).SettingsInit(ctx, settingsRow(rapport.DefaultSettings())); err != nil {
				return fmt.Errorf("writing the settings: %w", err)
			}
			if _, err := tx.Exec(ctx, migrations.Grants); err != nil {
				return fmt.Errorf("granting the roles their rights: %w", err)
			}
			return nil
		})
	})
}

func latestVersion(provider *goose.Provider) int64 {
	sources := provider.ListSources()
	return sources[len(sources)-1].Version
}

// CheckSchema is nil if the schema is the one that this binary was made for,
// and ErrSchemaOld or ErrSchemaNew otherwise.
func (db *DB) CheckSchema(ctx context.Context) error {
	want, err := embeddedVersion()
	if err != nil {
		return err
	}
	var exists bool
	if err := db.pool.QueryRow(ctx, "SELECT to_regclass('public.goose_db_version') IS NOT NULL").Scan(&exists); err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	var version int64
	if exists {
		var may bool
		if err := db.pool.QueryRow(ctx, "SELECT has_table_privilege('public.goose_db_version', 'SELECT')").Scan(&may); err != nil {
			return fmt.Errorf("reading the role's rights: %w", err)
		}
		if !may {
			return ErrNotServer
		}
		err = db.pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
		if err != nil {
			return fmt.Errorf("reading the schema's version: %w", err)
		}
	}
	switch {
	case version < want:
		return ErrSchemaOld
	case version > want:
		return ErrSchemaNew
	}
	return nil
}

// embeddedVersion is the version of this binary's last migration.
func embeddedVersion() (int64, error) {
	entries, err := migrations.FS.ReadDir(".")
	if err != nil || len(entries) == 0 {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	return goose.NumericComponent(entries[len(entries)-1].Name())
}

// GuardedByTriggersOnly reports whether this connection's role could take the
// log's protection away: it owns the log, or is a superuser. Append-only is
// then kept by triggers, which an owner can disable.
func (db *DB) GuardedByTriggersOnly(ctx context.Context) (bool, error) {
	var can bool
	err := db.pool.QueryRow(ctx, "SELECT has_table_privilege('events', 'DELETE')").Scan(&can)
	if err != nil {
		return false, fmt.Errorf("reading the role's rights: %w", err)
	}
	return can, nil
}

// PublicMayCreate reports whether every role of the cluster may create objects in
// the schema public, where the server looks for its own: the default of Postgres
// 14, which only the schema's owner can take back.
func (db *DB) PublicMayCreate(ctx context.Context) (bool, error) {
	var may bool
	err := db.pool.QueryRow(ctx, "SELECT has_schema_privilege('public', 'public', 'CREATE')").Scan(&may)
	if err != nil {
		return false, fmt.Errorf("reading the rights on the schema: %w", err)
	}
	return may, nil
}

// Settings are those that the rollups are folded with.
func (db *DB) Settings(ctx context.Context) (rapport.Settings, error) {
	row, err := db.q.SettingsGet(ctx)
	if err != nil {
		return rapport.Settings{}, fmt.Errorf("reading the settings: %w", err)
	}
	return rapport.Settings{
		IdleTimeout:          time.Duration(row.IdleTimeoutS) * time.Second,
		ActiveGapCap:         time.Duration(row.ActiveGapCapS) * time.Second,
		QuickAnswer:          time.Duration(row.QuickAnswerS) * time.Second,
		FrustrationWords:     row.FrustrationWords,
		FrustrationSentiment: int(row.FrustrationSentiment),
		ScoreVersion:         int(row.ScoreVersion),
	}, nil
}

func settingsRow(s rapport.Settings) dbsqlc.SettingsInitParams {
	return dbsqlc.SettingsInitParams{
		IdleTimeoutS:         int32(s.IdleTimeout / time.Second),
		ActiveGapCapS:        int32(s.ActiveGapCap / time.Second),
		QuickAnswerS:         int32(s.QuickAnswer / time.Second),
		FrustrationWords:     s.FrustrationWords,
		FrustrationSentiment: int32(s.FrustrationSentiment),
		ScoreVersion:         int32(s.ScoreVersion),
	}
}
