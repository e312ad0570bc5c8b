// Command cmd prints docs/sql.md, from the catalogue of a database that it makes,
// migrates and drops.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/internal/sqldocs"
	"rapport/store"
	"rapport/store/embedpg"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sqldocs:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "rapport-sqldocs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	err = os.Chmod(dir, 0o755) // #nosec G302 -- Postgres runs as another user, and looks for its own directory in it
	if err != nil {
		return err
	}
	pg, err := embedpg.Start(ctx, embedpg.Config{DataDir: dir, Ephemeral: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err = errors.Join(err, pg.Stop(stopping))
	}()
	if _, err := store.Migrate(ctx, pg.URL("rapport_owner")); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, pg.URL("rapport_owner"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	catalogue, err := sqldocs.Read(ctx, conn)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, sqldocs.Page(catalogue))
	return err
}
