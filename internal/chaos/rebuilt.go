package chaos

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"time"
)

// rebuild: reads and deliveries go on while the rollups are made anew, and a rebuild
// that was killed harms nothing.
func rebuild(ctx context.Context, t *Trial) error {
	p, s, err := t.serveOn(ctx)
	if err != nil {
		return err
	}
	link := p.url("rapport_owner")
	before := t.load(s.addr, t.Rate) // so that there is something to rebuild
	defer before.end()
	if err := pause(ctx, t.For); err != nil {
		return err
	}
	before.end()
	reads := t.readAlways(ctx, s)
	var longest time.Duration
	err = t.unnoticed(ctx, s, func(ctx context.Context) error {
		if t.oneIn(2) {
			if err := t.killRebuild(ctx, s, link); err != nil {
				return err
			}
		}
		began := time.Now()
		_, err := t.run(ctx, []string{"rebuild", "--data-dir", s.dataDir}, "RAPPORT_DATABASE_URL="+p.url("rapport_server"),
			"RAPPORT_OWNER_DATABASE_URL="+link)
		longest = max(longest, time.Since(began))
		return err
	})
	answered, failed := reads()
	t.measure("reads answered 200 meanwhile", "%d of %d", answered, answered+failed)
	t.measure("a rebuild took", "%.1f s at most", longest.Seconds())
	if failed > 0 {
		t.violate("%d of %d reads were not answered 200", failed, answered+failed)
	}
	return err
}

// killRebuild begins a rebuild and kills it, if it has not ended before.
func (t *Trial) killRebuild(ctx context.Context, s *server, link string) error {
	cmd := exec.CommandContext(ctx, t.program, "rebuild", "--data-dir", s.dataDir)
	c, err := startChild(cmd, filepath.Join(t.dir, "rebuild.log"), []string{"RAPPORT_DATABASE_URL=" + link})
	if err != nil {
		return err
	}
	if err := pause(ctx, t.someTime(0, 500*time.Millisecond)); err != nil {
		return err
	}
	_ = cmd.Process.Kill()
	<-c.done
	return nil
}

// readAlways reads sessions again and again, until the function that it returns is
// called, which tells how many reads were answered 200 and how many were not.
func (t *Trial) readAlways(ctx context.Context, s *server) (stop func() (answered, failed int64)) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var answered, failed atomic.Int64
	go func() {
		defer close(done)
		for pause(ctx, 20*time.Millisecond) == nil {
			var page struct{ Data []any }
			code, err := s.get(ctx, "/sessions?limit=50", &page)
			switch {
			case ctx.Err() != nil:
			case err != nil || code != http.StatusOK:
				failed.Add(1)
				t.say("a read failed: %s", fmt.Sprint(code, err))
			default:
				answered.Add(1)
			}
		}
	}()
	t.atEnd(cancel)
	return func() (int64, int64) {
		cancel()
		<-done
		return answered.Load(), failed.Load()
	}
}
