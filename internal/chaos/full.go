package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// smallDisk is the size of a disk that fills, in MiB: a Postgres, and some rounds.
const smallDisk = 320

// fullPostgres: with Postgres's disk full the spool keeps, on another disk.
func fullPostgres(ctx context.Context, t *Trial) error {
	disk := filepath.Join(t.dir, "server-1", "postgres")
	if err := mountSmallDisk(disk, smallDisk); err != nil {
		return err
	}
	s, err := t.serve(ctx, "")
	if err != nil {
		return err
	}
	return t.unnoticed(ctx, s, func(ctx context.Context) error {
		before := t.ledger.tallyNow()
		defer empty(disk)
		if err := fill(disk, 2<<20); err != nil {
			return err
		}
		if err := t.await(ctx, "deliveries in the spool", func(n tally) bool { return n.since(before).Spooled > 0 }); err != nil {
			return err
		}
		return pause(ctx, t.For)
	})
}

// fullSpool: at the bound of the spool senders are told to come again.
func fullSpool(ctx context.Context, t *Trial) error {
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	return t.fillsUp(ctx, p, "--spool-max-bytes=524288")
}

// fullSpoolDisk: nor is there more to it where the disk of the spool is full to the
// last byte.
func fullSpoolDisk(ctx context.Context, t *Trial) error {
	if err := mountSmallDisk(filepath.Join(t.dir, "server-1"), 2); err != nil {
		return err
	}
	p, err := t.startPostgres(ctx)
	if err != nil {
		return err
	}
	return t.fillsUp(ctx, p, "--spool-min-free=1")
}

// fillsUp takes Postgres away until a server's spool is full.
func (t *Trial) fillsUp(ctx context.Context, p *postgres, flag string) error {
	s, err := t.serve(ctx, p.url("rapport_server"), flag)
	if err != nil {
		return err
	}
	return t.eachRound(ctx, func(ctx context.Context) error {
		_, err := t.loadWhile(ctx, s, func(*load) error {
			if err := p.end(syscall.SIGINT); err != nil {
				return err
			}
			if err := t.untilRefused(ctx, s, func() error { return nil }); err != nil {
				return err
			}
			return p.start(ctx)
		})
		if err != nil {
			return err
		}
		return t.mustKeepAgain(ctx, s)
	})
}

// fullDisk: with one disk for all of it, full to the last byte, the same.
func fullDisk(ctx context.Context, t *Trial) error {
	disk := filepath.Join(t.dir, "server-1")
	if err := mountSmallDisk(disk, smallDisk); err != nil {
		return err
	}
	s, err := t.serve(ctx, "", "--spool-min-free=1")
	if err != nil {
		return err
	}
	return t.eachRound(ctx, func(ctx context.Context) error {
		_, err := t.loadWhile(ctx, s, func(*load) error {
			defer empty(disk)
			if err := fill(disk, 3<<20); err != nil {
				return err
			}
			if t.oneIn(2) { // what is left is the spool's then
				if err := killOf(s.dataDir); err != nil {
					return err
				}
			}
			return t.untilRefused(ctx, s, func() error { return fill(disk, 0) })
		})
		if err != nil {
			return err
		}
		return t.mustKeepAgain(ctx, s)
	})
}

// untilRefused waits for the first 503, and a bit longer. The server has to say that it
// is not ready then. Where others give room back meanwhile, fillUp takes it again: a server
// that has room may be ready.
func (t *Trial) untilRefused(ctx context.Context, s *server, fillUp func() error) error {
	before := t.ledger.tallyNow()
	if err := t.await(ctx, "503", func(n tally) bool { return n.since(before).Refused > 0 }); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := poll(within, func() error {
		if r, err := s.readiness(ctx); !errors.Is(err, errNotReady) {
			return errors.Join(fillUp(), fmt.Errorf("the server refuses deliveries and says that it is ready (%+v, %v) %+v",
				r, err, t.ledger.tallyNow().since(before)))
		}
		return nil
	})
	if err != nil {
		t.violate("%v", err)
	}
	return pause(ctx, t.someTime(0, 2*time.Second))
}

// mustKeepAgain waits until all is well, and posts for a second.
func (t *Trial) mustKeepAgain(ctx context.Context, s *server) error {
	if err := t.settle(ctx); err != nil {
		return err
	}
	before := t.ledger.tallyNow()
	l := t.load(s.addr, t.Rate)
	defer l.end()
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	l.end()
	t.mustAllBeKept(before)
	return nil
}

// await waits for something to come about among the answers, for as long as the
// fault may last.
func (t *Trial) await(ctx context.Context, what string, came func(tally) bool) error {
	within, cancel := context.WithTimeout(ctx, max(t.For, 20*time.Second))
	defer cancel()
	return poll(within, func() error {
		if !came(t.ledger.tallyNow()) {
			return fmt.Errorf("there is no %s", what)
		}
		return nil
	})
}

// ballast is what the names of files begin with that only take room.
const ballast = "ballast-"

// fill leaves so many bytes free on the disk of dir, or fewer since others write to it
// meanwhile. What it takes, empty gives back.
func fill(dir string, leave int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return err
	}
	size := int64(disk.Bavail)*int64(disk.Bsize) - leave
	if size <= 0 {
		return nil
	}
	file, err := os.CreateTemp(dir, ballast)
	if err == nil {
		_, err = file.Write(make([]byte, size))
		err = errors.Join(err, file.Close())
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// empty gives the room back that fill took.
func empty(dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, ballast+"*")) // the pattern is well formed
	for _, file := range files {
		_ = os.Remove(file)
	}
}
