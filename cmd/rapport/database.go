package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"rapport/store"
	"rapport/store/embedpg"
)

// databaseFlags tell which database is meant.
type databaseFlags struct {
	DataDir          string `placeholder:"DIR" help:"Where the spool is and, if no database is configured, the private Postgres. Default: /var/lib/rapport for root, else ~/.local/share/rapport. RAPPORT_POSTGRES_BIN names the directory of Postgres's programs, if they are not found."`
	DatabaseURL      string `secret:"" name:"database-url" placeholder:"URL" help:"Use this Postgres (14 to 18) instead of a private one, as the server's role."`
	OwnerDatabaseURL string `secret:"" name:"owner-database-url" placeholder:"URL" help:"The same database as the role that owns the schema, where that is another one."`
	SQLDatabaseURL   string `secret:"" name:"sql-database-url" placeholder:"URL" help:"The same database as the role rapport_sql, which runs the statements of POST /sql and rapport sql, and may read analytics alone; see rapport db roles."`
}

// AfterApply fills in the default that depends on who runs it.
func (f *databaseFlags) AfterApply() error {
	if f.SQLDatabaseURL != "" && !f.isConfigured() {
		return errors.New("--sql-database-url is for a database that --database-url names: set both")
	}
	if f.DataDir == "" {
		f.DataDir = embedpg.DefaultDataDir()
	}
	return nil
}

// database is a database to connect to, and the private Postgres behind it if
// this process runs one.
type database struct {
	ServerURL string
	OwnerURL  string
	SQLURL    string          // empty: nobody knows a login for the statements of others
	isPrivate bool            // it is a private Postgres, of this machine
	private   *embedpg.Server // nil if it is somebody else's
}

// open finds the database: the configured one, the private one that is running
// already (if mayShare), or the private one, started.
func (f *databaseFlags) open(ctx context.Context, logger *slog.Logger, mayShare bool, config embedpg.Config) (*database, error) {
	if f.isConfigured() {
		return f.configured(), nil
	}
	if mayShare {
		urlOf, err := embedpg.Running(f.DataDir)
		if err == nil {
			return privateDatabase(urlOf, nil), nil
		}
		if errors.Is(err, os.ErrPermission) { // whoever may not look may not start it either
			return nil, err
		}
	}
	config.DataDir, config.Logger = f.DataDir, logger
	private, err := embedpg.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	return privateDatabase(private.URL, private), nil
}

func privateDatabase(urlOf func(role string) string, private *embedpg.Server) *database {
	return &database{
		ServerURL: urlOf("rapport_server"), OwnerURL: urlOf("rapport_owner"), SQLURL: urlOf("rapport_sql"),
		isPrivate: true, private: private,
	}
}

func (f *databaseFlags) isConfigured() bool { return f.DatabaseURL != "" || f.OwnerDatabaseURL != "" }

// address tells databases apart.
func (f *databaseFlags) address() (string, error) {
	if !f.isConfigured() {
		return "private", nil
	}
	return store.Address(f.configured().ServerURL)
}

// configured is the database that is named; where one role is named only, it is
// server and owner.
func (f *databaseFlags) configured() *database {
	return &database{
		ServerURL: cmp.Or(f.DatabaseURL, f.OwnerDatabaseURL), OwnerURL: cmp.Or(f.OwnerDatabaseURL, f.DatabaseURL),
		SQLURL: f.SQLDatabaseURL,
	}
}

// stopTimeout is for how long a private Postgres may take to stop.
const stopTimeout = 4 * time.Second

// close stops the private Postgres, if this process runs it.
func (d *database) close() error {
	if d.private == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return d.private.Stop(ctx)
}

// migrated opens the store, migrating first if the schema is old and that is wanted.
func (d *database) migrated(ctx context.Context, migrate bool, logger *slog.Logger) (*store.DB, error) {
	db, err := store.Open(ctx, d.ServerURL)
	if err != nil {
		return nil, err
	}
	if err := d.migrate(ctx, db, migrate, logger); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// migrate checks the schema, and migrates it first if it is old and that is wanted.
func (d *database) migrate(ctx context.Context, db *store.DB, wanted bool, logger *slog.Logger) error {
	err := db.CheckSchema(ctx)
	// Without rights there may be another server that is just about to give them.
	beside := errors.Is(err, store.ErrNotServer) && d.OwnerURL != d.ServerURL
	if !wanted || !errors.Is(err, store.ErrSchemaOld) && !beside {
		return err
	}
	migrated, err := store.Migrate(ctx, d.OwnerURL)
	if err != nil {
		return err
	}
	logger.Info("migrated the database", "version", migrated.Version, "applied", migrated.Applied)
	for _, warning := range migrated.Warnings {
		logger.Warn(warning)
	}
	return db.CheckSchema(ctx)
}

// withStore runs f on the database, beside a running server or without one.
func (f *databaseFlags) withStore(ctx context.Context, logger *slog.Logger, do func(*store.DB) error) error {
	return f.withDatabase(ctx, logger, func(_ *database, db *store.DB) error { return do(db) })
}

// withDatabase is withStore for what needs to connect in another way, too.
func (f *databaseFlags) withDatabase(ctx context.Context, logger *slog.Logger, do func(*database, *store.DB) error) (err error) {
	if _, err := os.Stat(filepath.Join(f.DataDir, "postgres")); err != nil && !f.isConfigured() {
		return fmt.Errorf("there is no Rapport data in %s: name it with --data-dir, or a database with --database-url", f.DataDir)
	}
	database, err := f.open(ctx, logger, true, embedpg.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.close()) }()
	db, err := database.migrated(ctx, false, logger)
	if err != nil {
		return err
	}
	defer db.Close()
	return do(database, db)
}

type dbCmd struct {
	URL   dbURLCmd   `cmd:"" name:"url" help:"Print a URL that psql can use."`
	Exec  dbExecCmd  `cmd:"" help:"Run psql, pg_dump and their like on the database."`
	Roles dbRolesCmd `cmd:"" help:"Print the SQL that makes the roles and the database where Rapport may not."`
}

type dbURLCmd struct {
	databaseFlags
	Role string `enum:"reader,server,owner" default:"reader" help:"Whose eyes to see it with: reader (the analytics views), server or owner."`
}

// Run prints the URL of the running or configured database.
func (c *dbURLCmd) Run(io streams) error {
	link, err := c.url()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(io.Out, link)
	return err
}

func (c *dbURLCmd) url() (string, error) {
	if !c.isConfigured() {
		urlOf, err := embedpg.Running(c.DataDir)
		if err != nil {
			return "", err
		}
		return urlOf("rapport_" + c.Role), nil
	}
	db := c.configured()
	switch c.Role {
	case "server":
		return db.ServerURL, nil
	case "owner":
		return db.OwnerURL, nil
	default:
		return asReader(db.ServerURL)
	}
}

// asReader is the server's URL with the reader's role taken on at once, since
// of a configured database no login of a reader is known. It is for those who
// may have the server's password anyway.
func asReader(link string) (string, error) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme == "" {
		return "", errors.New("the database URL can't be read (want postgres://user:password@host:port/database)")
	}
	query := u.Query()
	for name := range query {
		if strings.HasPrefix(name, "pool_") { // psql does not know them
			query.Del(name)
		}
	}
	options := strings.TrimSpace(query.Get("options") + " -c role=rapport_reader -c search_path=analytics")
	query.Set("options", options)
	// psql takes a + for itself, not for a space.
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String(), nil
}

type migrateCmd struct {
	databaseFlags
	logFlags
}

// Run migrates.
func (c *migrateCmd) Run(ctx context.Context, io streams) (err error) {
	db, err := c.open(ctx, c.logger(io.Err), true, embedpg.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	migrated, err := store.Migrate(ctx, db.OwnerURL)
	if err != nil {
		return err
	}
	for _, warning := range migrated.Warnings {
		_, _ = fmt.Fprintln(io.Err, "warning:", warning)
	}
	_, err = fmt.Fprintf(io.Out, "schema version %d, %d migrations applied\n", migrated.Version, migrated.Applied)
	return err
}
