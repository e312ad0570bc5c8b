package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/embedpg"
)

// postgres is one that the rig runs, for servers that are configured with its URL.
// Nothing starts it again but start.
type postgres struct {
	dataDir string
	url     func(role string) string // the way to it that no fault is on
	socket  string                   // the same for dial
	running *embedpg.Server
}

// startPostgres starts a Postgres of the trial's own, with a migrated database.
func (t *Trial) startPostgres(ctx context.Context) (*postgres, error) {
	p := &postgres{dataDir: filepath.Join(t.dir, "database")}
	if err := t.copyPostgres(p.dataDir); err != nil {
		return nil, err
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	p.url = p.running.URL
	t.database = func(role string) (string, error) { return p.url(role), nil }
	t.atEnd(func() { _ = p.stop() })
	link, err := url.Parse(p.url("postgres"))
	if err != nil {
		return nil, err
	}
	p.socket = filepath.Join(link.Query().Get("host"), ".s.PGSQL."+link.Query().Get("port"))
	return p, nil
}

func (p *postgres) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	p.running, err = embedpg.Start(ctx, embedpg.Config{
		DataDir: p.dataDir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	return err
}

func (p *postgres) dial() (net.Conn, error) { return net.Dial("unix", p.socket) }

// stop shuts it down in good order, which does not wait for its clients.
func (p *postgres) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.running.Stop(ctx)
}

// end ends it by a signal: SIGKILL as the out-of-memory killer does, SIGQUIT as
// pg_ctl stop -m immediate does, SIGINT as -m fast does.
func (p *postgres) end(signal syscall.Signal) error {
	pid, err := postmaster(p.dataDir)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return err
	}
	return p.stop() // waits for its end
}

// freeze stops all of its processes, and returns what lets them go on.
func (p *postgres) freeze() (thaw func(), err error) {
	pid, err := postmaster(p.dataDir)
	if err != nil {
		return nil, err
	}
	pids := append([]int{pid}, childrenOf(pid)...)
	if len(pids) == 1 {
		return nil, fmt.Errorf("%w: finding the backends takes Linux", errNotHere)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP) // a backend may have ended
	}
	return func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}, nil
}

// postmaster is the process of the Postgres in a data directory.
func postmaster(dataDir string) (int, error) {
	content, err := os.ReadFile(filepath.Join(dataDir, "postgres", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	var pid int
	if _, err := fmt.Sscan(strings.SplitN(string(content), "\n", 2)[0], &pid); err != nil || pid <= 1 {
		return 0, errors.New("postmaster.pid names no process")
	}
	return pid, nil
}

// do runs statements on a connection of its own, by a URL.
func do(ctx context.Context, link string, statements ...string) error {
	conn, err := pgx.Connect(ctx, link)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}
