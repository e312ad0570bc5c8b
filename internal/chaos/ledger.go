package chaos

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
)

// ledger is the sender's record of a trial: what was sent, and what was answered.
type ledger struct {
	mu        sync.Mutex
	made      *conversations
	random    *rand.Rand
	entries   []entry // by number
	byKey     map[key]int
	answered  []*delivery // the last ones that were kept, for sending them again
	tally     tally
	surprises []string // answers that nobody may get
}

// entry is what is known of a delivery that was sent, perhaps several times.
type entry struct {
	key         key
	malformed   bool
	kept        bool  // answered 200, at least once
	quarantined bool  // answered 422
	told        int64 // the position that an answer told; 0 if none did
	fresh       bool  // an answer told a position and did not call it a duplicate
	found       int64 // the position where it was found in the log; 0 if it was not
}

// tally counts answers.
type tally struct {
	Sent        int
	Kept        int // 200
	Spooled     int // those of them that went to the spool
	Duplicates  int // those of them that were known already
	Quarantined int // 422
	Refused     int // 503: send it again
	Unanswered  int // the request was sent, or may have been, and no answer came
	Unconnected int // nobody listened
	Broken      int // those unanswered ones whose connection had answered before
}

func (t tally) since(before tally) tally {
	return tally{
		t.Sent - before.Sent, t.Kept - before.Kept, t.Spooled - before.Spooled, t.Duplicates - before.Duplicates,
		t.Quarantined - before.Quarantined, t.Refused - before.Refused, t.Unanswered - before.Unanswered,
		t.Unconnected - before.Unconnected, t.Broken - before.Broken,
	}
}

func newLedger(random *rand.Rand) *ledger {
	return &ledger{made: newConversations(random), random: random, byKey: make(map[key]int)}
}

const (
	// repeatedShare of the deliveries are sent again, after they were answered.
	repeatedShare = 0.03
	repeatable    = 500
)

// next is what is to be sent now: something new, mostly.
func (l *ledger) next() *delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.answered) > 0 && l.random.Float64() < repeatedShare {
		return l.answered[l.random.IntN(len(l.answered))]
	}
	d := l.made.next()
	d.number = len(l.entries)
	l.entries = append(l.entries, entry{key: d.key, malformed: d.malformed})
	l.byKey[d.key] = d.number
	return d
}

// record notes what became of a delivery.
func (l *ledger) record(d *delivery, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Sent++
	e := &l.entries[d.number]
	switch {
	case a.unconnected:
		l.tally.Unconnected++
	case a.err != nil:
		l.tally.Unanswered++
		if a.reused {
			l.tally.Broken++
		}
	case a.status == http.StatusOK && !d.malformed:
		l.keep(d, e, a)
	case a.status == http.StatusUnprocessableEntity && d.malformed:
		l.tally.Quarantined++
		e.quarantined = true
	case a.status == http.StatusServiceUnavailable:
		l.tally.Refused++
		if !a.retryAfter {
			l.surprise("delivery %d was answered 503 without Retry-After", d.number)
		}
	default:
		l.surprise("delivery %d (malformed: %t) was answered %d: %s", d.number, d.malformed, a.status, a.text)
	}
}

// keep notes a 200. The caller holds mu.
func (l *ledger) keep(d *delivery, e *entry, a answer) {
	l.tally.Kept++
	switch {
	case a.Spooled:
		l.tally.Spooled++
	case a.Position <= 0:
		l.surprise("delivery %d was answered 200 without a position: %s", d.number, a.text)
	case e.told != 0 && e.told != a.Position:
		l.surprise("delivery %d was told to be at position %d, and then at %d", d.number, e.told, a.Position)
	case e.fresh && !a.Duplicate:
		l.surprise("delivery %d was answered twice at position %d as if it were new", d.number, a.Position)
	}
	if a.Duplicate {
		l.tally.Duplicates++
	} else if a.Position > 0 {
		e.fresh = true
	}
	if a.Position > 0 {
		e.told = a.Position
	}
	if !e.kept && len(l.answered) < repeatable {
		l.answered = append(l.answered, d)
	} else if !e.kept {
		l.answered[l.random.IntN(repeatable)] = d
	}
	e.kept = true
}

// maxSurprises is how many are worth reading.
const maxSurprises = 20

func (l *ledger) surprise(format string, args ...any) {
	if len(l.surprises) < maxSurprises {
		l.surprises = append(l.surprises, fmt.Sprintf(format, args...))
	}
}

func (l *ledger) tallyNow() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}
