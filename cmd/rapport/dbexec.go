package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/embedpg"
)

type dbExecCmd struct {
	databaseFlags
	Role    string   `enum:"reader,server,owner" default:"owner" help:"As whom it connects: reader (the analytics views), server or owner."`
	Command []string `arg:"" passthrough:"" help:"A program that connects as psql does, with its arguments."`
}

// Help is what --help says besides the flags.
func (*dbExecCmd) Help() string {
	return `Runs psql, pg_dump and their like on the running or configured database, or on the private Postgres,
which is started for as long as the program runs, and made if there is none. Where and who is told by the
PG* variables, so that no password is on a command line:

  rapport db exec -- pg_dump --format=custom --file=rapport.dump`
}

// Run runs the program, and ends as it does.
func (c *dbExecCmd) Run(ctx context.Context, io streams) (err error) {
	if c.Command[0] == "--" {
		c.Command = c.Command[1:]
	}
	if len(c.Command) == 0 {
		return errors.New("name a program, such as psql")
	}
	logger := slog.New(slog.NewTextHandler(io.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	database, err := c.open(ctx, logger, true, embedpg.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.close()) }()
	link, err := (&dbURLCmd{c.databaseFlags, c.Role}).url()
	if err != nil {
		return err
	}
	env, err := libpqEnvironment(link)
	if err != nil {
		return err
	}
	program := exec.CommandContext(ctx, c.Command[0], c.Command[1:]...) // #nosec G204 -- that is what the command is for
	program.Env = append(withoutOurs(os.Environ()), env...)
	program.Stdin, program.Stdout, program.Stderr = io.In, io.Out, io.Err
	if err := program.Run(); err != nil {
		return fmt.Errorf("%s: %w", c.Command[0], err)
	}
	return nil
}

// withoutOurs is an environment without what would lead elsewhere.
func withoutOurs(environment []string) (kept []string) {
	for _, variable := range environment {
		if !strings.HasPrefix(variable, "PG") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// libpqParameters are those of a URL that have a variable of libpq's.
var libpqParameters = map[string]string{
	"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
	"options": "PGOPTIONS", "target_session_attrs": "PGTARGETSESSIONATTRS", "connect_timeout": "PGCONNECT_TIMEOUT",
	"channel_binding": "PGCHANNELBINDING", "gssencmode": "PGGSSENCMODE",
}

// libpqEnvironment has what a URL says, as NAME=value.
func libpqEnvironment(link string) ([]string, error) {
	u, err := url.Parse(link)
	if err != nil || u.Scheme == "" {
		return nil, store.ErrURL
	}
	query := u.Query()
	parameters := url.Values{}
	for name := range query {
		if !strings.HasPrefix(name, "pool_") {
			parameters[name] = query[name]
		}
	}
	u.RawQuery = parameters.Encode()
	config, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, store.ErrURL
	}
	env := []string{
		"PGHOST=" + config.Host, fmt.Sprintf("PGPORT=%d", config.Port), "PGUSER=" + config.User,
		"PGDATABASE=" + config.Database, "PGPASSWORD=" + config.Password,
	}
	for name, variable := range libpqParameters {
		if value := query.Get(name); value != "" {
			env = append(env, variable+"="+value)
		}
	}
	return env, nil
}
