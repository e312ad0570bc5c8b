package embedpg

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// leftoverPatience is how long a start waits for the backends of a killed
	// Postgres to notice and end.
	leftoverPatience = 10 * time.Second

	// adoptPatience is how long an orphan may take to answer before it is
	// replaced.
	adoptPatience = 5 * time.Second

	// abortPatience is how long a Postgres that is given up may take to end.
	abortPatience = 10 * time.Second
)

// bringUp makes s.proc a Postgres that accepts connections and has the database
// and the roles. On failure nothing is left running.
func (s *Server) bringUp(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending.Err() != nil {
		return errors.New("stopped")
	}
	proc, conn, err := s.obtain(ctx)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = provision(ctx, conn, s.password)
	if err == nil {
		err = s.Harden(ctx, database)
	}
	if err != nil {
		return errors.Join(err, s.abort(proc))
	}
	s.proc = proc
	s.log.Info("Postgres is ready", "pid", proc.os.Pid, "major", s.bin.major, "socket", s.endpoint.dir)
	return nil
}

// obtain takes over the orphan of a killed Rapport or starts Postgres anew, and
// returns it with a connection as superuser.
func (s *Server) obtain(ctx context.Context) (*process, *pgx.Conn, error) {
	want := s.settings()
	if orphan, status := findOrphan(s.cluster()); orphan != nil {
		if conn := s.adopt(ctx, orphan, status, want); conn != nil {
			return orphan, conn, nil
		}
		// It is gone before the files change, so that they always are what
		// the running Postgres was started with.
		if err := s.abort(orphan); err != nil {
			return nil, nil, err
		}
	}
	if err := want.write(s.dir); err != nil {
		return nil, nil, err
	}
	if err := clearReusedPID(s.cluster(), s.endpoint); err != nil {
		return nil, nil, err
	}
	return s.launch(ctx)
}

// adopt returns a connection to the orphan if it can be kept as it is.
func (s *Server) adopt(ctx context.Context, orphan *process, status string, want settings) *pgx.Conn {
	if status == statusStopping || !want.written(s.dir) {
		s.log.Info("replacing the Postgres of a killed Rapport", "pid", orphan.os.Pid)
		return nil
	}
	if status == statusReady {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, adoptPatience)
		defer cancel()
	}
	conn, err := s.await(ctx, orphan)
	if err != nil {
		s.log.Warn("the Postgres of a killed Rapport does not answer, replacing it", "pid", orphan.os.Pid, "error", err)
		return nil
	}
	s.log.Info("took over the Postgres of a killed Rapport", "pid", orphan.os.Pid)
	return conn
}

// launch starts Postgres. Backends of a killed one may still be ending, and
// Postgres refuses to start beside them: then it tries again for a while.
func (s *Server) launch(ctx context.Context) (*process, *pgx.Conn, error) {
	deadline := time.Now().Add(leftoverPatience)
	for {
		proc, conn, err := s.launchOnce(ctx)
		if err == nil || !errors.Is(err, errLeftovers) || time.Now().After(deadline) {
			return proc, conn, err
		}
		s.log.Info("waiting for the backends of a killed Postgres to end")
		if err := pause(ctx, 250*time.Millisecond); err != nil {
			return nil, nil, err
		}
	}
}

func (s *Server) launchOnce(ctx context.Context) (*process, *pgx.Conn, error) {
	since := time.Now()
	proc, err := s.spawn()
	if err != nil {
		return nil, nil, fmt.Errorf("starting Postgres: %w", err)
	}
	conn, err := s.await(ctx, proc)
	if err != nil {
		err = fmt.Errorf("the private Postgres did not start: %w; it said: %s", err, s.said(since))
		return nil, nil, errors.Join(leftovers(err), s.abort(proc))
	}
	return proc, conn, nil
}

var errExited = errors.New("it ended at once")

// await returns a connection as superuser as soon as Postgres accepts it.
// However long a recovery takes is up to ctx.
func (s *Server) await(ctx context.Context, proc *process) (*pgx.Conn, error) {
	for {
		conn, err := connect(ctx, s.URL(roleSuper))
		if err == nil {
			return conn, nil
		}
		select {
		case <-proc.done:
			return nil, errExited
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return pgx.Connect(ctx, url)
}

// abort ends a Postgres that is given up, also when the context already is.
func (s *Server) abort(proc *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), abortPatience)
	defer cancel()
	return proc.stop(ctx, s.log)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
