package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rapport"
	"rapport/store/ingest/spool"
)

// away is a database that comes and goes.
type away struct {
	mu   sync.Mutex
	gone bool
}

func (a *away) set(gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = gone
}

func (a *away) err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.gone {
		return errGone
	}
	return nil
}

// awayLog is a log behind a database that is away.
func awayLog() (*fakeLog, *away) {
	a := &away{gone: true}
	return &fakeLog{before: func(int) error { return a.err() }, ping: a.err}, a
}

func TestWhatTheDatabaseCantKeepGoesToTheSpool(t *testing.T) {
	t.Run("and from there into the log, in order, once it is back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, database := awayLog()
			in, stop := start(t, log, Options{Spools: []Spool{&fakeSpool{}}})
			defer stop()
			var want []string
			for i := range 1200 {
				want = append(want, fmt.Sprint(i))
				kept, err := in.Append(t.Context(), event(want[i]))
				if err != nil || !kept.Spooled || kept.Position != 0 {
					t.Fatalf("got %+v, %v; want it spooled", kept, err)
				}
			}
			if status := in.Status(); status.OpenSince.IsZero() || status.Waiting.Records != 1200 || status.Spooled != 1200 {
				t.Errorf("the status is %+v", status)
			}
			database.set(false)
			time.Sleep(maxDrainPause)
			synctest.Wait()
			if got := log.texts(); !slices.Equal(got, want) {
				t.Errorf("the log has %d events, or in another order", len(got))
			}
			if status := in.Status(); !status.OpenSince.IsZero() || status.Waiting.Records != 0 || status.Drained != 1200 {
				t.Errorf("afterwards the status is %+v", status)
			}
			if log.drained["fake"] != 1200 {
				t.Errorf("the database was told of %d drained records", log.drained["fake"])
			}
			if kept, err := in.Append(t.Context(), event("later")); err != nil || kept.Spooled || kept.Position != 1201 {
				t.Errorf("later: %+v, %v", kept, err)
			}
		})
	})
	t.Run("after the deadline, where the database hangs; and at once while the circuit is open", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			log := &fakeLog{hang: release, ping: func() error { return errGone }}
			in, stop := start(t, log, Options{Spools: []Spool{&fakeSpool{}}})
			defer stop()
			defer close(release)
			for i, within := range []time.Duration{2 * time.Second, 0, 0} {
				began := time.Now()
				kept, err := in.Append(t.Context(), event(fmt.Sprint(i)))
				if took := time.Since(began); err != nil || !kept.Spooled || took > within {
					t.Errorf("delivery %d: %+v, %v after %v", i, kept, err, took)
				}
			}
		})
	})
	t.Run("though a database that keeps nothing answers, while the first ones are still on their way to the disk", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			sp := &fakeSpool{before: func() error { time.Sleep(100 * time.Millisecond); return nil }}
			in, stop := start(t, &fakeLog{hang: release}, Options{Spools: []Spool{sp}})
			defer stop()
			defer close(release)
			for i, within := range []time.Duration{2100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond} {
				began := time.Now()
				kept, err := in.Append(t.Context(), event(fmt.Sprint(i)))
				if took := time.Since(began); err != nil || !kept.Spooled || took > within {
					t.Errorf("delivery %d: %+v, %v after %v", i, kept, err, took)
				}
			}
		})
	})
	t.Run("with bodies for the quarantine", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, database := awayLog()
			log.refusals = 1000
			in, stop := start(t, log, Options{Spools: []Spool{&fakeSpool{}}})
			defer stop()
			for _, body := range []string{"one", "two", "one"} {
				if err := in.Quarantine(t.Context(), []byte(body), "no event", nil, time.Now()); err != nil {
					t.Fatal(err)
				}
				if _, err := in.Append(t.Context(), event("beside "+body)); err != nil {
					t.Fatal(err)
				}
			}
			log.mu.Lock()
			log.refusals = 0
			log.mu.Unlock()
			database.set(false)
			time.Sleep(maxDrainPause)
			synctest.Wait()
			if !slices.Equal(log.quarantined, []string{"one", "two", "one"}) || len(log.texts()) != 2 {
				t.Errorf("the quarantine has %q, the log %q", log.quarantined, log.texts())
			}
		})
	})
	t.Run("also what a shutdown leaves no time for", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			sp := &fakeSpool{}
			in, stop := start(t, &fakeLog{hang: release}, Options{Deadline: time.Minute, Spools: []Spool{sp}})
			defer stop()
			defer close(release)
			in.Hurry(time.Second)
			began := time.Now()
			if kept, err := in.Append(t.Context(), event("a")); err != nil || !kept.Spooled || time.Since(began) > time.Second {
				t.Errorf("%+v, %v after %v", kept, err, time.Since(began))
			}
		})
	})
}

func TestAServerStartsWithoutItsDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, database := &fakeLog{}, &away{gone: true}
		in, stop := start(t, log, Options{Spools: []Spool{&fakeSpool{}}, Ready: func(context.Context) error { return database.err() }})
		defer stop()
		if kept, err := in.Append(t.Context(), event("a")); err != nil || !kept.Spooled {
			t.Errorf("before: %+v, %v", kept, err)
		}
		if len(log.batches) > 0 {
			t.Error("a log that is not known to be the right one was used")
		}
		database.set(false)
		time.Sleep(maxDrainPause)
		synctest.Wait()
		if kept, err := in.Append(t.Context(), event("b")); err != nil || kept.Position != 2 {
			t.Errorf("after: %+v, %v; the log has %q", kept, err, log.texts())
		}
	})
}

func TestDrainingIsSafeToRepeat(t *testing.T) {
	t.Run("when the answer to its commit is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, database := awayLog()
			lost := 0
			log.after = func(int) error {
				if lost++; lost < 10 {
					return errGone
				}
				return nil
			}
			in, stop := start(t, log, Options{Spools: []Spool{&fakeSpool{}}})
			defer stop()
			for i := range 20 {
				if _, err := in.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			database.set(false)
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(log.texts()) != 20 || in.Status().Waiting.Records != 0 {
				t.Errorf("the log has %d events, want 20", len(log.texts()))
			}
		})
	})
	t.Run("when the server ends in the middle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, database := awayLog()
			sp := &fakeSpool{}
			first, stop := start(t, log, Options{Spools: []Spool{sp}})
			for i := range 20 {
				if _, err := first.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
					t.Fatal(err)
				}
			}
			if err := first.Quarantine(t.Context(), []byte("no"), "no event", nil, time.Now()); err != nil {
				t.Fatal(err)
			}
			database.set(false)
			time.Sleep(maxDrainPause)
			synctest.Wait()
			stop()
			sp.next = 0 // it never learnt that all was drained
			_, stop = start(t, log, Options{Spools: []Spool{sp}})
			defer stop()
			synctest.Wait()
			if len(log.texts()) != 20 || len(log.quarantined) != 1 || sp.next != 21 {
				t.Errorf("the log has %d events, the quarantine %d", len(log.texts()), len(log.quarantined))
			}
		})
	})
}

func TestASpoolThatCantKeepIsTold(t *testing.T) {
	for name, sp := range map[string]*fakeSpool{
		"it is full":                        {full: spool.ErrFull},
		"nothing can be written":            {before: func() error { return errNoSpace }},
		"kept, although the answer said no": {after: func() error { return errNoSpace }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, database := awayLog()
				in, stop := start(t, log, Options{Spools: []Spool{sp}})
				defer stop()
				for range 2 {
					if kept, err := in.Append(t.Context(), event("a")); !errors.Is(err, ErrUnavailable) {
						t.Errorf("got %+v, %v; want ErrUnavailable", kept, err)
					}
				}
				if in.Status().Refused != 2 {
					t.Errorf("%d were counted as refused", in.Status().Refused)
				}
				database.set(false)
				time.Sleep(3 * maxDrainPause)
				synctest.Wait()
				if _, err := in.Append(t.Context(), event("a")); err != nil || len(log.texts()) != 1 {
					t.Errorf("sent again: %v; the log has %q", err, log.texts())
				}
			})
		})
	}
}

func TestABadRecordHarmsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, database := awayLog()
		bad := event("bad")
		log.bad = func(e *rapport.Event) bool { return e.Fingerprint == bad.Fingerprint }
		sp := &fakeSpool{}
		if _, err := sp.Append([][]byte{[]byte("\xffnot of this version"), {}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		in, stop := start(t, log, Options{Spools: []Spool{sp}})
		defer stop()
		for _, e := range []*rapport.Event{event("a"), bad, event("b")} {
			if _, err := in.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		database.set(false)
		time.Sleep(maxDrainPause)
		synctest.Wait()
		if got := log.texts(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the log has %q", got)
		}
		if len(log.quarantined) != 3 || sp.next != 5 {
			t.Errorf("the quarantine has %q, %d records were drained", log.quarantined, sp.next)
		}
	})
}

func TestEverySpoolIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := &fakeSpool{records: [][]byte{eventRecord(event("left by another"))}, at: []time.Time{time.Now()}}
		log := &fakeLog{}
		_, stop := start(t, log, Options{Spools: []Spool{&fakeSpool{}, left}})
		defer stop()
		synctest.Wait()
		if got := log.texts(); len(got) != 1 || left.next != 1 {
			t.Errorf("the log has %q", got)
		}
	})
}
