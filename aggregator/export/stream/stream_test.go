package stream_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport/aggregator/export/stream"
	"rapport/store"
	"rapport/store/storetest"
)

// keep is a destination that takes everything.
type keep struct{ *inbox }

func (k keep) Send(_ context.Context, records []*stream.Record) error {
	for _, r := range records {
		if err := k.add(r.Data); err != nil {
			return err
		}
	}
	return nil
}

func TestAStreamBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	put(t, db, talk("before", 10)...)
	for options, first := range map[string]int64{"": 11, "#from=head": 11, "#from=beginning": 1, "#from=4": 5, "#from=999": 11} {
		in := newInbox()
		stop := follow(t, db, "s=kinesis://x"+options, keep{in})
		waitForHead(t, db)
		var last int64
		if first == 11 {
			put(t, db, say("z", "z", "after"+options)...)
			head, err := db.Head(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			last = head
			in.wait(t, 1)
		} else {
			last = infoOf(t, db).Head
		}
		stop()
		all, _ := in.all()
		wanted := first
		if first == 11 {
			wanted = last
		}
		if len(all) == 0 || all[0].position != wanted || all[len(all)-1].position != last {
			t.Errorf("%q: %v", options, all)
		}
		if err := db.StreamRemove(t.Context(), "test", "s"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStreamThatIsThereGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	put(t, db, talk("one", 10)...)
	in := newInbox()
	stop := follow(t, db, "s=kinesis://x#from=beginning", keep{in})
	in.wait(t, 10)
	stop()
	put(t, db, talk("two", 10)...)
	follow(t, db, "s=kinesis://other#from=beginning", keep{in})
	in.wait(t, 20)
	all, _ := in.all()
	if len(all) != 20 {
		t.Errorf("%d events were sent, some of them twice", len(all))
	}
	if info := infoOf(t, db); info.Destination != "kinesis://other" {
		t.Errorf("%+v", info)
	}
}

func TestOneProcessAtATimeSendsAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	in := newInbox()
	stopFirst := follow(t, db, "s=kinesis://x#from=beginning", keep{in})
	put(t, db, talk("one", 10)...)
	in.wait(t, 10)
	follow(t, db, "s=kinesis://x#from=beginning", keep{in})
	put(t, db, talk("two", 10)...)
	in.wait(t, 20)
	stopFirst()
	put(t, db, talk("three", 10)...)
	wantInOrder(t, in.wait(t, 30), 1, 30)
	if all, _ := in.all(); len(all) != 30 {
		t.Errorf("%d events were sent, some of them twice", len(all))
	}
}

func TestAStreamCanBeSetWhileItIsSent(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	in := newInbox()
	follow(t, db, "s=kinesis://x#from=beginning", keep{in})
	put(t, db, talk("one", 10)...)
	in.wait(t, 10)
	waitForHead(t, db)
	if err := db.StreamRemove(t.Context(), "test", "s"); !errors.Is(err, store.ErrStreamHeld) {
		t.Error(err)
	}
	if err := db.StreamSet(t.Context(), "test", "s", store.StreamStart{Position: 5}); err != nil {
		t.Fatal(err)
	}
	put(t, db, talk("two", 1)...)
	in.wait(t, 11)
	all, _ := in.all()
	if len(all) != 16 || all[10].position != 6 {
		t.Errorf("%v", all)
	}
	for _, wrong := range []struct {
		name  string
		start store.StreamStart
		want  error
	}{{"s", store.StreamStart{Position: 12}, store.ErrNotInLog}, {"none", store.StreamStart{}, store.ErrNoStream}} {
		if err := db.StreamSet(t.Context(), "test", wrong.name, wrong.start); !errors.Is(err, wrong.want) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
}

// fickle acknowledges some of the records, and fails in all the ways that there are.
type fickle struct {
	*inbox
	calls int
}

func (f *fickle) Send(_ context.Context, records []*stream.Record) error {
	f.calls++
	switch f.calls % 4 {
	case 0:
		return errors.New("away")
	case 1: // every second one, of each session the first ones
		var rest []*stream.Record
		refused := make(map[string]bool)
		for i, r := range records {
			if i%2 == 1 || refused[r.AgentID+r.SessionID] {
				refused[r.AgentID+r.SessionID] = true
				rest = append(rest, r)
			} else if err := f.add(r.Data); err != nil {
				return err
			}
		}
		return &stream.PartialError{Rest: rest, Err: errors.New("throttled")}
	case 2:
		_ = f.add(records[0].Data)
		return errors.New("taken, but the answer was lost")
	}
	return keep{f.inbox}.Send(context.Background(), records)
}

func TestWhatIsAcknowledgedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	in := newInbox()
	put(t, db, talk("one", 50)...)
	stop := follow(t, db, "s=kinesis://x#from=beginning", &fickle{inbox: in})
	put(t, db, talk("two", 50)...)
	wantInOrder(t, in.wait(t, 100), 1, 100)
	waitForHead(t, db)
	stop()
	info := infoOf(t, db)
	if all, _ := in.all(); len(all) > 110 || info.Sent != 100 {
		t.Errorf("%d were sent for 100 events; %+v", len(all), info)
	}
}

func TestAPageIsAsLargeAsItsTextsAllow(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	in := newInbox()
	texts := make([]string, 20)
	for i := range texts {
		texts[i] = strings.Repeat("x", 300_000) + string(rune('A'+i))
	}
	put(t, db, say("a", "s", texts[:10]...)...)
	put(t, db, say("a", "s", texts[10:]...)...)
	page, err := db.StreamEvents(t.Context(), store.StreamQuery{UpTo: 20, MaxEvents: 2000})
	if err != nil || !page.Truncated || len(page.Events) == 0 || len(page.Events) > 15 || page.Reached != page.Events[len(page.Events)-1].Position {
		t.Fatal(err, len(page.Events), page.Reached)
	}
	follow(t, db, "s=kinesis://x#from=beginning", keep{in})
	wantInOrder(t, in.wait(t, 20), 1, 20)
}

func TestAHolderWithoutASignOfLifeIsReplaced(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	claim := store.StreamClaim{Name: "s", Destination: "kinesis://x", Patience: time.Hour}
	frozen, err := db.HoldStream(t.Context(), claim)
	if err != nil || frozen == nil {
		t.Fatal(err)
	}
	defer frozen.Release()
	if second, err := db.HoldStream(t.Context(), claim); err != nil || second != nil {
		t.Fatal(err, second)
	}
	claim.Patience = 0
	var second *store.StreamHold
	for second == nil { // the connection ends a moment after it is told to
		if second, err = db.HoldStream(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
	}
	defer second.Release()
	if moved, err := frozen.Move(t.Context(), store.StreamMove{To: 1}); moved || err == nil {
		t.Errorf("it moves what it has lost: %t, %v", moved, err)
	}
	if err := second.Beat(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheLastOmissionsAreKeptAndAllAreCounted(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	put(t, db, talk("one", 1)...)
	hold, err := db.HoldStream(t.Context(), store.StreamClaim{Name: "s", Destination: "kinesis://x", Patience: time.Hour})
	if err != nil || hold == nil {
		t.Fatal(err)
	}
	defer hold.Release()
	const kept = 10_000
	omitted := make([]store.StreamOmission, kept+5)
	for i := range omitted {
		omitted[i] = store.StreamOmission{Position: int64(i + 1), Bytes: 1 << 20}
	}
	if moved, err := hold.Move(t.Context(), store.StreamMove{To: kept + 5, Sent: kept + 5, Omitted: omitted}); err != nil || !moved {
		t.Fatal(moved, err)
	}
	left, err := db.StreamOmissions(t.Context(), "s", kept+5)
	if err != nil || len(left) != kept || left[kept-1].Position != 6 {
		t.Errorf("%d omissions are kept: %v", len(left), err)
	}
	if info := infoOf(t, db); info.Omitted != kept+5 {
		t.Errorf("%d are counted", info.Omitted)
	}
	if held, err := db.StreamsHeld(t.Context()); err != nil || !held["s"] {
		t.Errorf("the streams that are sent: %v, %v", held, err)
	}
}

func TestWhatHasGoneForItsAgeIsTold(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	old, recent := talk("old", 5), talk("recent", 5)
	for _, e := range old {
		e.OccurredAt = e.OccurredAt.AddDate(-1, 0, 0)
	}
	put(t, db, slices.Concat(old[:3], recent[:2], old[3:], recent[2:])...)
	db.Exec(t, "rapport_owner", "DROP TABLE events_2025_03")
	page, err := db.StreamEvents(t.Context(), store.StreamQuery{UpTo: 10, MaxEvents: 100})
	if err != nil || len(page.Events) != 5 || page.Gone != 5 || page.Reached != 10 {
		t.Error(err, len(page.Events), page.Gone, page.Reached)
	}
	page, err = db.StreamEvents(t.Context(), store.StreamQuery{UpTo: 10, MaxEvents: 2, Agents: []string{"nobody"}})
	if err != nil || len(page.Events) != 0 || page.Gone != 3 || page.Reached != 5 {
		t.Error(err, len(page.Events), page.Gone, page.Reached)
	}
	in := newInbox()
	follow(t, db, "s=kinesis://x#from=beginning", keep{in})
	in.wait(t, 5)
	waitForHead(t, db)
}
