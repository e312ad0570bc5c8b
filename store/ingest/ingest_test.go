package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rapport"
	"rapport/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs an ingest until the returned function is called.
func start(t *testing.T, log Log, opts Options) (*Ingest, func()) {
	t.Helper()
	opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	in := New(log, opts)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{in.Run, in.Drain} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return in, sync.OnceFunc(func() { cancel(); wg.Wait() })
}

func event(text string) *rapport.Event {
	return &rapport.Event{
		Fingerprint: sha256.Sum256([]byte(text)), SessionID: "s", Text: text, Payload: []byte(text),
		OccurredAt: time.Unix(1790607253, 0), ReceivedAt: time.Unix(1790607254, 0),
	}
}

var errGone = errors.New("connection reset")

func TestABatchGathersWhileOneIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		log := &fakeLog{before: func(batch int) error {
			if batch == 1 {
				<-release
			}
			return nil
		}}
		in, stop := start(t, log, Options{})
		defer stop()
		var wg sync.WaitGroup
		post := func(text string) {
			wg.Go(func() {
				if _, err := in.Append(t.Context(), event(text)); err != nil {
					t.Error(err)
				}
			})
		}
		post("first")
		synctest.Wait() // it is in flight, alone
		for i := range 100 {
			post(fmt.Sprint(i))
		}
		synctest.Wait()
		close(release)
		wg.Wait()
		if len(log.batches) != 2 || log.batches[0] != 1 || log.batches[1] != 100 {
			t.Errorf("got batches of %v, want 1 and 100", log.batches)
		}
	})
}

func TestEveryWayOfFailingEndsInOneEvent(t *testing.T) {
	t.Parallel()
	fail := func(batch int) error {
		if batch <= 2 {
			return errGone
		}
		return nil
	}
	for name, log := range map[string]*fakeLog{
		"not kept":                          {before: fail},
		"kept, although the answer said no": {after: fail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in, stop := start(t, log, Options{})
			defer stop()
			got, err := in.Append(t.Context(), event("a"))
			if err != nil || got.Position != 1 {
				t.Fatalf("got %+v, %v; want position 1", got, err)
			}
			stop()
			if len(log.positions) != 1 {
				t.Errorf("the log has %d events, want 1", len(log.positions))
			}
		})
	}
}

func TestADatabaseThatIsAwayForTooLongIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{before: func(int) error { return errGone }}
		in, stop := start(t, log, Options{Deadline: 8 * time.Second})
		defer stop()
		began := time.Now()
		_, err := in.Append(t.Context(), event("a"))
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		if waited := time.Since(began); waited > 10*time.Second {
			t.Errorf("the sender waited for %v, and gives up after 10 s", waited)
		}
	})
}

func TestABadRowHarmsNoOther(t *testing.T) {
	t.Parallel()
	log := &fakeLog{bad: func(e *rapport.Event) bool { return e.Text == "bad" }}
	release := make(chan struct{})
	log.before = func(batch int) error {
		if batch == 1 {
			<-release
		}
		return nil
	}
	in, stop := start(t, log, Options{})
	defer stop()
	errs := make(chan error, 100)
	var wg sync.WaitGroup
	for i := range 100 {
		text := fmt.Sprint(i)
		if i == 37 {
			text = "bad"
		}
		wg.Go(func() {
			_, err := in.Append(context.Background(), event(text))
			var refused *RefusedError
			if errors.As(err, &refused) != (text == "bad") {
				errs <- fmt.Errorf("%q: %v", text, err)
			}
		})
	}
	close(release)
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if len(log.positions) != 99 {
		t.Errorf("the log has %d events, want 99", len(log.positions))
	}
	if len(log.quarantined) != 1 || log.quarantined[0] != "bad" {
		t.Errorf("the quarantine has %v, want the bad one", log.quarantined)
	}
}

func TestTooMuchIsOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		log := &fakeLog{before: func(int) error { <-release; return nil }}
		in, stop := start(t, log, Options{MaxWaitingBytes: 10_000})
		defer stop()
		var wg sync.WaitGroup
		overloaded := 0
		for i := range 100 {
			e := event(fmt.Sprint(i))
			_, _, err := in.join(weight(e), func(b *batch) { b.events = append(b.events, e) }, false)
			if errors.Is(err, ErrOverloaded) {
				overloaded++
			}
		}
		if overloaded == 0 || overloaded == 100 {
			t.Errorf("%d of 100 were refused", overloaded)
		}
		close(release)
		wg.Wait()
		synctest.Wait()
		if _, err := in.Append(t.Context(), event("later")); err != nil {
			t.Errorf("after the load: %v", err)
		}
	})
}

func TestAnEventThatMustWaitKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{prepare: func(e *rapport.Event) error {
			if e.Text == "odd" {
				return errGone
			}
			return nil
		}}
		in, stop := start(t, log, Options{Deadline: 8 * time.Second})
		defer stop()
		var odd sync.WaitGroup
		odd.Go(func() {
			if _, err := in.Append(t.Context(), event("odd")); !errors.Is(err, ErrUnavailable) {
				t.Errorf("the odd one: %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		if _, err := in.Append(t.Context(), event("a")); err != nil || time.Since(began) > 0 {
			t.Errorf("the other: %v after %v", err, time.Since(began))
		}
		odd.Wait()
	})
}

func TestAHurryAnswersEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, stop := start(t, &fakeLog{before: func(int) error { return errGone }}, Options{Deadline: time.Hour})
		defer stop()
		in.Hurry(3 * time.Second)
		began := time.Now()
		if _, err := in.Append(t.Context(), event("a")); !errors.Is(err, ErrUnavailable) || time.Since(began) > 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestNobodyWaitsForEver(t *testing.T) {
	t.Run("a client that goes away", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			in, stop := start(t, &fakeLog{before: func(int) error { <-release; return nil }}, Options{})
			defer stop()
			defer close(release)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := in.Append(ctx, event("a")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("a shutdown commits what was accepted, and refuses what comes later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			log := &fakeLog{before: func(int) error { <-release; return nil }}
			in, stop := start(t, log, Options{MaxBatchEvents: 10})
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					if _, err := in.Append(context.Background(), event(fmt.Sprint(i))); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			go stop()
			synctest.Wait()
			close(release)
			wg.Wait()
			stop()
			if _, err := in.Append(t.Context(), event("late")); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: got %v, want ErrClosed", err)
			}
			if len(log.positions) != 100 {
				t.Errorf("the log has %d events, want 100", len(log.positions))
			}
		})
	})
}

func TestABadBodyIsTriedAgainToo(t *testing.T) {
	t.Parallel()
	log := &fakeLog{refusals: 2}
	in, stop := start(t, log, Options{})
	defer stop()
	if err := in.Quarantine(t.Context(), []byte("no"), "no event", nil, time.Now()); err != nil || len(log.quarantined) != 1 {
		t.Errorf("%v, %v kept", err, log.quarantined)
	}
}

func TestAFloodOfBadBodiesIsPruned(t *testing.T) {
	t.Parallel()
	log := &fakeLog{}
	in, stop := start(t, log, Options{Quarantine: store.QuarantineBounds{MaxAge: time.Hour, MaxBytes: 1600}})
	defer stop()
	for range 21 {
		if err := in.Quarantine(t.Context(), make([]byte, 10), "no", nil, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if log.pruned == 0 {
		t.Error("nothing was pruned")
	}
}
