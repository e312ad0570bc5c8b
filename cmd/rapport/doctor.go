package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"
)

type doctorCmd struct {
	databaseFlags
	spoolFlags
	tlsFlags
	Listen             string        `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where the server listens. Default: ${default}."`
	WebhookSecret      string        `secret:"" placeholder:"SECRET,…" help:"The server's webhook secrets."`
	WebhookToken       string        `secret:"" placeholder:"TOKEN,…" help:"The server's webhook tokens."`
	APIToken           string        `secret:"" name:"api-token" placeholder:"TOKEN" help:"The server's API token."`
	RecordSecret       string        `secret:"" placeholder:"SECRET" help:"The api-secret of the sender's own record."`
	QuarantineMaxBytes int64         `default:"67108864" placeholder:"BYTES" help:"How much the quarantine keeps. Default: ${default} (64 MiB)."`
	LagAlarm           time.Duration `default:"1m" placeholder:"DURATION" help:"How far the rollups may be behind. Default: ${default}."`
	JSON               bool          `name:"json" help:"Print the findings as JSON."`
}

// Help is what --help says besides the flags.
func (*doctorCmd) Help() string {
	return `Looks at the database, its roles and rights, the clocks, the disk, TLS, the secrets, the spool, and at
what waits or was put aside, and says what to do about each finding. Give it the environment that the
server has. It runs beside a server or without one, changes nothing, and starts nothing; what it can't
see without the database it leaves out. The exit code is 1 if there is a problem.`
}

// The states of a finding.
const (
	findingOK      = "ok"
	findingWarning = "warning"
	findingProblem = "problem"
)

// finding is one thing that was looked at. It holds no secret.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"`
}

// findings collects what is found.
type findings struct{ list []finding }

func (f *findings) ok(check, format string, args ...any) {
	f.list = append(f.list, finding{check, findingOK, fmt.Sprintf(format, args...), ""})
}

func (f *findings) warn(check, advice, format string, args ...any) {
	f.list = append(f.list, finding{check, findingWarning, fmt.Sprintf(format, args...), advice})
}

func (f *findings) problem(check, advice, format string, args ...any) {
	f.list = append(f.list, finding{check, findingProblem, fmt.Sprintf(format, args...), advice})
}

func (f *findings) problems() (n int) {
	for _, one := range f.list {
		if one.Status == findingProblem {
			n++
		}
	}
	return n
}

// doctorTimeout is for how long the database is asked, all in all.
const doctorTimeout = 20 * time.Second

// Run looks, and tells.
func (c *doctorCmd) Run(ctx context.Context, io streams) error {
	var f findings
	asking, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	db := c.examineDatabase(asking, &f)
	if db != nil {
		defer db.Close()
	}
	c.examineDisk(&f)
	c.examineSpools(asking, db, &f)
	c.examineTLS(time.Now(), &f)
	c.examineSecrets(asking, db, &f)
	if err := c.print(io.Out, &f); err != nil {
		return err
	}
	if n := f.problems(); n > 0 {
		return fmt.Errorf("%s found", plural(n, "problem"))
	}
	return nil
}

func (c *doctorCmd) print(out io.Writer, f *findings) error {
	if c.JSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(map[string]any{"findings": f.list, "problems": f.problems()})
	}
	for _, one := range f.list {
		line := fmt.Sprintf("%-8s %-12s %s", one.Status, one.Check, one.Found)
		if one.Advice != "" {
			line += ": " + one.Advice
		}
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// silent is a logger for what the findings tell.
var silent = slog.New(slog.DiscardHandler)
