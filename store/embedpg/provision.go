package embedpg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const (
	database = "rapport"

	roleSuper  = "postgres"
	roleOwner  = "rapport_owner"
	roleServer = "rapport_server"
	roleReader = "rapport_reader"
	roleEraser = "rapport_eraser"
	roleSQL    = "rapport_sql"
)

// provision creates what is missing of the roles and the database. What the
// roles may do is up to the migrations. A password is set each time, so that the
// file it is kept in is right.
func provision(ctx context.Context, conn *pgx.Conn, readerPassword string) error {
	for _, role := range []string{roleOwner, roleServer, roleReader} {
		err := unless(ctx, conn, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role,
			"CREATE ROLE "+role+" LOGIN")
		if err != nil {
			return fmt.Errorf("creating the role %s: %w", role, err)
		}
	}
	if err := provideEraser(ctx, conn); err != nil {
		return err
	}
	if err := provideSandbox(ctx, conn); err != nil {
		return err
	}
	// `rapport db url` has them see with the reader's eyes.
	if _, err := conn.Exec(ctx, "GRANT "+roleReader+" TO "+roleOwner+", "+roleServer); err != nil {
		return fmt.Errorf("granting %s: %w", roleReader, err)
	}
	if readerPassword != "" {
		if _, err := conn.Exec(ctx, "ALTER ROLE "+roleReader+" PASSWORD "+quote(readerPassword)); err != nil {
			return fmt.Errorf("setting the password of %s: %w", roleReader, err)
		}
	}
	err := unless(ctx, conn, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database,
		"CREATE DATABASE "+database+" OWNER "+roleOwner+" ENCODING 'UTF8'")
	if err != nil {
		return fmt.Errorf("creating the database %s: %w", database, err)
	}
	// So that an analyst finds the views with \dv, and by their bare names.
	if _, err := conn.Exec(ctx, "ALTER ROLE "+roleReader+" IN DATABASE "+database+" SET search_path = analytics"); err != nil {
		return fmt.Errorf("setting the search_path of %s: %w", roleReader, err)
	}
	return nil
}

// unless creates what does not exist. Nobody else does meanwhile: the lock on the
// data directory is ours.
func unless(ctx context.Context, conn *pgx.Conn, exists, name, create string) error {
	var found bool
	if err := conn.QueryRow(ctx, exists, name).Scan(&found); err != nil || found {
		return err
	}
	_, err := conn.Exec(ctx, create)
	return err
}

// provideEraser makes the role that the server takes on when it erases, and as whose
// member it inherits nothing.
func provideEraser(ctx context.Context, conn *pgx.Conn) error {
	err := unless(ctx, conn, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", roleEraser,
		"CREATE ROLE "+roleEraser+" NOLOGIN")
	if err != nil {
		return fmt.Errorf("creating the role %s: %w", roleEraser, err)
	}
	grant := []string{"ALTER ROLE " + roleServer + " NOINHERIT", "GRANT " + roleEraser + " TO " + roleServer}
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::integer").Scan(&version); err != nil {
		return fmt.Errorf("reading the version of Postgres: %w", err)
	}
	if version >= 160000 { // where each membership says for itself what is inherited
		grant = []string{"GRANT " + roleEraser + " TO " + roleServer + " WITH INHERIT FALSE"}
	}
	for _, sql := range grant {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("granting %s: %w", roleEraser, err)
		}
	}
	return nil
}
