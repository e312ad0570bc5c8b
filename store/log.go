package store

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport"
	"rapport/store/internal/dbsqlc"
)

// Appended tells where an event is in the log.
type Appended struct {
	Position  int64
	Duplicate bool // it was there already, at Position
	Erased    bool // it belongs to what was erased, or is of a time before the horizon, and is not kept: there is no Position
}

// Append adds the events to the log, in the order given, in one transaction,
// and tells for each where it is. It returns only after the commit: what it
// tells is durable. Of events that are the same (see rapport.Event.Fingerprint)
// the later ones are duplicates, in the log and among those given alike.
//
// An error may come although the commit took place, when its answer was lost.
// Appending the same again is then right: all become duplicates.
func (db *DB) Append(ctx context.Context, events []*rapport.Event) ([]Appended, error) {
	if len(events) == 0 {
		return nil, nil
	}
	distinct, places := distinctEvents(events)
	params := appendParams(distinct)
	params.Repeats = int64(len(events) - len(distinct))
	positions, err := db.appendMany(ctx, distinct, params)
	if err != nil {
		db.tail.forget()
		return nil, fmt.Errorf("appending to the log: %w", err)
	}
	db.remember(distinct, positions)
	appended := make([]Appended, len(events))
	for i, place := range places {
		position := positions[place.index]
		erased := position == 0
		appended[i] = Appended{
			Position: max(position, -position), Duplicate: !erased && (place.repeated || position < 0), Erased: erased,
		}
	}
	db.noteReceipt(slices.MaxFunc(params.ReceivedAt, time.Time.Compare))
	select {
	case db.grown <- struct{}{}:
	default: // it is known already
	}
	return appended, nil
}

// remember keeps the new ones of the events at hand for the follower.
func (db *DB) remember(events []*rapport.Event, positions []int64) {
	added := make([]*rapport.Event, 0, len(events))
	for i, e := range events {
		if positions[i] > 0 {
			added = append(added, folded(e, positions[i]))
		}
	}
	db.tail.add(added)
}

func (db *DB) appendMany(ctx context.Context, events []*rapport.Event, params dbsqlc.EventAppendManyParams) ([]int64, error) {
	if err := db.ensureMonths(ctx, events); err != nil {
		return nil, err
	}
	positions, err := db.keep.EventAppendMany(ctx, params)
	if sqlState(err) != noPartition {
		return positions, err
	}
	// A month that we knew of was dropped meanwhile.
	db.forgetMonths()
	if err := db.ensureMonths(ctx, events); err != nil {
		return nil, err
	}
	return db.keep.EventAppendMany(ctx, params)
}

// Head is the position of the last event of the log, 0 if it is empty.
func (db *DB) Head(ctx context.Context) (int64, error) {
	head, err := db.q.LogHeadGet(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the log's head: %w", err)
	}
	db.noteReceipt(head.ReceivedAt)
	return head.Position, nil
}

// NewestReceipt is the newest received_at of the log, as far as this process
// knows: from its own appends and its last look at the head.
func (db *DB) NewestReceipt() time.Time { return time.UnixMicro(db.newest.Load()).UTC() }

func (db *DB) noteReceipt(t time.Time) {
	us := t.UnixMicro()
	for old := db.newest.Load(); us > old; old = db.newest.Load() {
		if db.newest.CompareAndSwap(old, us) {
			return
		}
	}
}

// appendParams turns rows into columns: one array a column is how many rows
// reach Postgres in one message. A column that may be absent is, where all of
// it is empty: most batches have no error, no rating and no end.
func appendParams(events []*rapport.Event) dbsqlc.EventAppendManyParams {
	n := len(events)
	p := dbsqlc.EventAppendManyParams{
		OccurredAt: make([]time.Time, n), ReceivedAt: make([]time.Time, n), Participants: make([]int32, n),
		Undated: make([]bool, n), EventType: make([]string, n), AgentID: make([]string, n),
		SessionID: make([]string, n), UserID: make([]string, n), Role: make([]string, n),
		Message: make([]string, n), MessageType: make([]string, n), Language: make([]string, n),
		RoomName: make([]string, n), ErrorCode: make([]string, n), ErrorSeverity: make([]string, n),
		ErrorCategory: make([]string, n), EndReason: make([]string, n), Rating: make([]float64, n),
		Fingerprint: make([][]byte, n), Headers: make([]string, n), Payload: make([]string, n),
		PayloadRaw: make([][]byte, n), HealedFrom: make([]string, n),
	}
	for i, e := range events {
		p.OccurredAt[i], p.ReceivedAt[i], p.Undated[i] = e.OccurredAt, e.ReceivedAt, e.Undated
		p.EventType[i], p.AgentID[i], p.SessionID[i], p.UserID[i] = e.Type, e.AgentID, e.SessionID, e.UserID
		p.Role[i], p.Message[i], p.MessageType[i], p.Language[i] = e.Role, e.Text, e.MessageType, e.Language
		p.RoomName[i], p.EndReason[i] = e.RoomName, e.EndReason
		p.ErrorCode[i], p.ErrorSeverity[i], p.ErrorCategory[i] = e.ErrorCode, e.ErrorSeverity, e.ErrorCategory
		p.Fingerprint[i], p.Headers[i] = e.Fingerprint[:], headersJSON(e.Headers)
		p.HealedFrom[i] = e.HealedFrom
		// Arrays have no NULLs here: append_events knows these by their values.
		p.Participants[i], p.Rating[i] = -1, math.NaN()
		if e.Participants != nil {
			p.Participants[i] = *e.Participants
		}
		if e.Rating != nil {
			p.Rating[i] = *e.Rating
		}
		if utf8.Valid(e.Payload) {
			p.Payload[i] = string(e.Payload)
		} else {
			p.PayloadRaw[i] = e.Payload
		}
	}
	for _, column := range []*[]string{
		&p.UserID, &p.MessageType, &p.Language, &p.RoomName, &p.ErrorCode, &p.ErrorSeverity, &p.ErrorCategory,
		&p.EndReason, &p.HealedFrom,
	} {
		if !slices.ContainsFunc(*column, func(s string) bool { return s != "" }) {
			*column = nil
		}
	}
	if !slices.ContainsFunc(p.PayloadRaw, func(b []byte) bool { return len(b) > 0 }) {
		p.PayloadRaw = nil
	}
	return p
}

// headersJSON is a JSON object; a nil map is an empty one.
func headersJSON(headers map[string]string) string {
	if len(headers) == 0 {
		return "{}"
	}
	text, err := json.Marshal(headers)
	if err != nil {
		return "{}" // a map of strings always marshals
	}
	return string(text)
}

// noPartition is check_violation: what Postgres says of a row that has no
// partition. An append can violate no other check with what the decoder gives.
const noPartition = "23514"

// month is a UTC month, counted from the year 0.
type month int

func monthOf(t time.Time) month {
	t = t.UTC()
	return month(t.Year()*12 + int(t.Month()) - 1)
}

func (m month) firstDay() time.Time {
	return time.Date(int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, time.UTC)
}

// EnsureMonth makes the partitions of the month of t and of the one after it,
// so that no delivery has to wait for them.
func (db *DB) EnsureMonth(ctx context.Context, t time.Time) error {
	for _, m := range []month{monthOf(t), monthOf(t) + 1} {
		if err := db.ensureMonth(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// Prepared reports whether the partition that an event needs is known to exist.
func (db *DB) Prepared(event *rapport.Event) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.months[monthOf(event.OccurredAt)]
}

// Prepare makes the partition that an event needs, if it is missing: for an event
// of an unusual month that may take time, in which others must not wait.
func (db *DB) Prepare(ctx context.Context, event *rapport.Event) error {
	return db.ensureMonth(ctx, monthOf(event.OccurredAt))
}

func (db *DB) ensureMonths(ctx context.Context, events []*rapport.Event) error {
	var last month
	for _, e := range events {
		if m := monthOf(e.OccurredAt); m != last {
			if err := db.ensureMonth(ctx, m); err != nil {
				return err
			}
			last = m
		}
	}
	return nil
}

func (db *DB) ensureMonth(ctx context.Context, m month) error {
	db.mu.Lock()
	known := db.months[m]
	db.mu.Unlock()
	if known {
		return nil
	}
	err := pgx.BeginFunc(ctx, db.keepers, func(tx pgx.Tx) error {
		// Attaching must not queue up before everybody else for long.
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '1s'"); err != nil {
			return err
		}
		return db.keep.WithTx(tx).EventsMonthCreate(ctx, pgtype.Date{Time: m.firstDay(), Valid: true})
	})
	if err != nil {
		return fmt.Errorf("making the partition for %s: %w", m.firstDay().Format("2006-01"), err)
	}
	db.mu.Lock()
	db.months[m] = true
	db.mu.Unlock()
	return nil
}

func (db *DB) forgetMonths() {
	db.mu.Lock()
	defer db.mu.Unlock()
	clear(db.months)
}
