package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// The kinds of an erasure.
const (
	EraseSession = "session"
	EraseUser    = "user"
	EraseAgent   = "agent"
)

// ErasureRequest says what is to be erased: a session (of an agent, if AgentID is
// given), whatever a user took part in, or an agent altogether.
type ErasureRequest struct {
	Kind      string // one of the kinds
	SessionID string // of EraseSession
	AgentID   string // of EraseAgent; may limit EraseSession
	UserID    string // of EraseUser
	Reason    string
	By        string // who asks: an actor of the audit

	// Patience is for how long it waits for the events to be folded into sessions,
	// whose numbers stay; half a minute if zero.
	Patience time.Duration
}

func (r *ErasureRequest) subject() string {
	switch r.Kind {
	case EraseUser:
		return r.UserID
	case EraseAgent:
		return r.AgentID
	default:
		return r.SessionID
	}
}

// ofAgent is the agent that a session's erasure is limited to.
func (r *ErasureRequest) ofAgent() string {
	if r.Kind == EraseSession {
		return r.AgentID
	}
	return ""
}

// Check tells what is wrong with the request.
func (r *ErasureRequest) Check() error {
	switch {
	case r.Kind != EraseSession && r.Kind != EraseUser && r.Kind != EraseAgent:
		return fmt.Errorf("%q can't be erased: name a session, a user or an agent", r.Kind)
	case r.subject() == "":
		return fmt.Errorf("name the %s that is to be erased", r.Kind)
	case r.By == "":
		return errors.New("nobody asks for the erasure")
	}
	return nil
}

// ErasurePlan is what a request means in the log as it is now.
type ErasurePlan struct {
	Request ErasureRequest
	Known   bool // the log has, or had, anything of it

	Conversations int
	Events        int64 // of them, or of no session, that are still whole
	Messages      int64 // of these events
	Quarantined   int   // bodies of the quarantine that mention it

	ids       []string // that the quarantine is searched for
	todo      []conversationToErase
	positions []int64 // of events of no session
	bodies    []int64 // entries of the quarantine
	resumes   bool    // an erasure of it was interrupted
}

// IsEmpty reports whether there is nothing left to be erased.
func (p *ErasurePlan) IsEmpty() bool {
	return len(p.todo) == 0 && len(p.positions) == 0 && len(p.bodies) == 0 && !p.resumes
}

type conversationToErase struct {
	Conversation
	events int64
}

// Erasure tells what was done.
type Erasure struct {
	ID            int64 // 0 if there was nothing to do
	Conversations int64
	Events        int64 // that became stubs
	Sessions      int64 // that were frozen
	DeadLetters   int64 // that were deleted
	Quarantined   int64 // bodies that were deleted
	Deliveries    int64 // to destinations, that were deleted: waiting, under way, dead or done
}

// ErrNotEraser says that the role may not erase.
var ErrNotEraser = errors.New("this role may not erase: it must be the owner of the schema, or a member of rapport_eraser (GRANT rapport_eraser TO it)")

// ErrNotFolded says that it would have to wait for the sessions to be made.
var ErrNotFolded = errors.New("some events of it are not folded into their sessions yet, whose numbers are to stay: is a server running, and does it follow the log?")

// PlanErasure looks for what a request means. It reads the whole log where the
// request is of a user or an agent.
func (db *DB) PlanErasure(ctx context.Context, request ErasureRequest) (*ErasurePlan, error) {
	if err := request.Check(); err != nil {
		return nil, err
	}
	plan := &ErasurePlan{Request: request}
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
		return plan.look(ctx, db.q.WithTx(tx))
	})
	if err == nil {
		err = plan.lookAside(ctx, db)
	}
	if err != nil {
		return nil, fmt.Errorf("looking for what is to be erased: %w", mayErase(err))
	}
	return plan, nil
}

// look finds what is in the log.
func (p *ErasurePlan) look(ctx context.Context, q *dbsqlc.Queries) error {
	found, err := p.conversations(ctx, q)
	if err != nil {
		return err
	}
	p.Known = len(found) > 0
	p.ids = []string{p.Request.subject()}
	for _, row := range found {
		if p.Request.Kind != EraseSession && len(row.SessionID) >= minTellingID {
			p.ids = append(p.ids, row.SessionID)
		}
		p.Events += row.Events
		p.Messages += row.Messages
		if row.Events > 0 || row.Live {
			p.todo = append(p.todo, conversationToErase{Conversation{row.AgentID, row.SessionID}, row.Events})
		}
	}
	p.Conversations = len(p.todo)
	r := &p.Request
	if r.Kind == EraseSession {
		return nil
	}
	agentID := ""
	if r.Kind == EraseAgent {
		agentID = r.AgentID
		had, err := q.ErasurePositionsExist(ctx, agentID)
		if err != nil {
			return err
		}
		p.Known = p.Known || had
	}
	p.positions, err = q.ErasurePositions(ctx, dbsqlc.ErasurePositionsParams{AgentID: agentID, UserID: r.UserID})
	p.Events += int64(len(p.positions))
	p.Known = p.Known || len(p.positions) > 0
	return err
}

// minTellingID is how long a session_id must be, in bytes, that a body of the
// quarantine is taken for one of the session's where nobody has named that.
const minTellingID = 8

func (p *ErasurePlan) conversations(ctx context.Context, q *dbsqlc.Queries) ([]dbsqlc.ErasureConversationsOfSessionRow, error) {
	var found []dbsqlc.ErasureConversationsOfSessionRow
	switch r := &p.Request; r.Kind {
	case EraseAgent:
		rows, err := q.ErasureConversationsOfAgent(ctx, r.AgentID)
		for _, row := range rows {
			found = append(found, dbsqlc.ErasureConversationsOfSessionRow(row))
		}
		return found, err
	case EraseUser:
		rows, err := q.ErasureConversationsOfUser(ctx, r.UserID)
		for _, row := range rows {
			found = append(found, dbsqlc.ErasureConversationsOfSessionRow(row))
		}
		return found, err
	default:
		return q.ErasureConversationsOfSession(ctx, dbsqlc.ErasureConversationsOfSessionParams{SessionID: r.SessionID, AgentID: r.AgentID})
	}
}

// lookAside finds what is in no log: the quarantine, and an erasure that was
// interrupted.
func (p *ErasurePlan) lookAside(ctx context.Context, db *DB) (err error) {
	if p.bodies, err = quarantineMentions(ctx, db.q, p.ids); err != nil {
		return err
	}
	p.Quarantined = len(p.bodies)
	p.Known = p.Known || len(p.bodies) > 0
	return db.asEraser(ctx, func(q *dbsqlc.Queries, _ func() error) error {
		id, err := q.ErasureUnfinished(ctx, dbsqlc.ErasureUnfinishedParams{
			Kind: p.Request.Kind, Subject: p.Request.subject(), AgentID: p.Request.ofAgent(),
		})
		if err != nil {
			return err
		}
		p.resumes = id != 0
		known, err := q.ErasureKnown(ctx, dbsqlc.ErasureKnownParams{
			Kind: p.Request.Kind, Subject: p.Request.subject(), AgentID: p.Request.ofAgent(),
		})
		p.Known = p.Known || known
		return err
	})
}

// asEraser runs do in a transaction with the rights of rapport_eraser, until do calls
// asServer: then with those of the connection's own role again. An owner needs no
// other role.
func (db *DB) asEraser(ctx context.Context, do func(q *dbsqlc.Queries, asServer func() error) error) error {
	may, err := db.q.RoleMay(ctx, "rapport_eraser")
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if !may {
			return do(db.q.WithTx(tx), func() error { return nil })
		}
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE rapport_eraser"); err != nil {
			return err
		}
		return do(db.q.WithTx(tx), func() error {
			_, err := tx.Exec(ctx, "SET LOCAL ROLE NONE")
			return err
		})
	})
}

func mayErase(err error) error {
	if sqlState(err) == insufficientPrivilege {
		return fmt.Errorf("%w (%w)", ErrNotEraser, err)
	}
	return err
}

// Erase does what was planned. The events become stubs, which keep their places and
// their times; the sessions keep their numbers; what comes later of the time before is
// let go, whoever brings it. It may be repeated: after an interruption it goes on, and
// when all is done it finds nothing.
//
// Each batch of conversations is one transaction, so that the log is never held for
// long. progress, if not nil, is told how many events of how many are done.
func (db *DB) Erase(ctx context.Context, plan *ErasurePlan, progress func(done, total int64)) (Erasure, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	e := &eraser{db: db, plan: plan, progress: progress}
	if err := e.run(ctx); err != nil {
		return e.done, fmt.Errorf("erasing: %w", mayErase(err))
	}
	return e.done, nil
}

// eraser is one run.
type eraser struct {
	db       *DB
	plan     *ErasurePlan
	progress func(done, total int64)
	done     Erasure
}

func (e *eraser) run(ctx context.Context) error {
	if e.plan.IsEmpty() {
		if err := e.dropDeliveries(ctx); err != nil {
			return err
		}
		return e.record(ctx, e.db.q, e.plan.Request.Kind != EraseUser)
	}
	if err := e.begin(ctx); err != nil {
		return err
	}
	if err := e.dropDeliveries(ctx); err != nil {
		return err
	}
	if err := e.lookAgain(ctx); err != nil {
		return err
	}
	// First, for they are found by what the others tell.
	if err := e.dropBodies(ctx); err != nil {
		return err
	}
	for len(e.plan.todo)+len(e.plan.positions) > 0 {
		if err := e.batch(ctx, e.plan.next()); err != nil {
			return err
		}
		e.progress(e.done.Events, e.plan.Events)
	}
	if err := e.forgetStatistics(ctx); err != nil {
		return err
	}
	return e.finish(ctx)
}

// begin records it, in the audit as well.
func (e *eraser) begin(ctx context.Context) error {
	r := &e.plan.Request
	return e.db.asEraser(ctx, func(q *dbsqlc.Queries, asServer func() error) (err error) {
		e.done.ID, err = q.ErasureBegin(ctx, dbsqlc.ErasureBeginParams{
			Kind: r.Kind, Subject: r.subject(), AgentID: r.ofAgent(), Reason: storable(r.Reason), RequestedBy: storable(r.By),
		})
		if err != nil {
			return err
		}
		if err := asServer(); err != nil {
			return err
		}
		return e.record(ctx, q, true)
	})
}

// lookAgain finds what came between the plan and the tombstone of an agent, or of a
// session as a whole. Nothing comes behind that.
func (e *eraser) lookAgain(ctx context.Context) error {
	r := &e.plan.Request
	if r.Kind == EraseUser || r.ofAgent() != "" {
		return nil
	}
	again, err := e.db.PlanErasure(ctx, *r)
	if err != nil {
		return err
	}
	e.plan.todo, e.plan.positions, e.plan.bodies = again.todo, again.positions, again.bodies
	return nil
}

// record writes the audit. Of a user there is what the erasure itself has: a hash.
func (e *eraser) record(ctx context.Context, q *dbsqlc.Queries, named bool) error {
	r := &e.plan.Request
	subject := ""
	if named {
		subject = r.subject()
	}
	if e.done.ID != 0 {
		row, err := q.ErasureGet(ctx, e.done.ID)
		if err != nil {
			return err
		}
		subject = row.Subject
	}
	details := map[string]any{
		"erasure": e.done.ID, "conversations": e.plan.Conversations, "events": e.plan.Events, "quarantined": e.plan.Quarantined,
	}
	if agentID := r.ofAgent(); agentID != "" {
		details["agent_id"] = agentID
	}
	if r.Reason != "" {
		details["reason"] = r.Reason
	}
	return audit(ctx, q, AuditEntry{Actor: r.By, Action: r.Kind + ".erase", Subject: subject, Details: details})
}

// The size of a batch.
const (
	eraseConversations = 200
	eraseEvents        = 5000 // one conversation is always taken
)

type eraseBatch struct {
	agents, sessions []string
	positions        []int64
}

// next takes the next batch from the plan.
func (p *ErasurePlan) next() eraseBatch {
	var b eraseBatch
	var events int64
	for len(p.todo) > 0 && len(b.agents) < eraseConversations {
		c := p.todo[0]
		if len(b.agents) > 0 && events+c.events > eraseEvents {
			return b
		}
		b.agents, b.sessions = append(b.agents, c.AgentID), append(b.sessions, c.SessionID)
		events += c.events
		p.todo = p.todo[1:]
	}
	if len(b.agents) == 0 {
		n := min(len(p.positions), eraseEvents)
		b.positions, p.positions = p.positions[:n], p.positions[n:]
	}
	return b
}

// How a batch whose events are not all folded is tried again.
const (
	erasePatience = 30 * time.Second
	erasePoll     = 10 * time.Millisecond
	eraseTries    = 10                      // before the log is held while the follower comes up
	eraseHold     = 1500 * time.Millisecond // for which it is held at most: deliveries wait for 2 s
)

// batch erases a batch, once its events are folded.
func (e *eraser) batch(ctx context.Context, b eraseBatch) error {
	patience := e.plan.Request.Patience
	if patience == 0 {
		patience = erasePatience
	}
	deadline := time.Now().Add(patience)
	for tries := 1; ; tries++ {
		behind, err := e.try(ctx, b, tries > eraseTries)
		switch {
		case err == nil && behind == 0:
			return nil
		case err == nil && time.Now().After(deadline):
			err = ErrNotFolded
		case err == nil:
			err = e.db.awaitFollower(ctx, behind, deadline)
		case isContention(err) && time.Now().Before(deadline):
			err = sleep(ctx, erasePoll)
		}
		if err != nil {
			return err
		}
	}
}

// isContention reports whether somebody else was in the way.
func isContention(err error) bool {
	switch sqlState(err) {
	case lockNotAvailable, deadlockDetected, "40001":
		return true
	}
	return false
}

// awaitFollower waits until the sessions are folded up to a position.
func (db *DB) awaitFollower(ctx context.Context, position int64, deadline time.Time) error {
	for {
		at, err := db.FollowerPosition(ctx, SessionsFollower)
		if err != nil || at >= position {
			return err
		}
		if time.Now().After(deadline) {
			return ErrNotFolded
		}
		if err := sleep(ctx, erasePoll); err != nil {
			return err
		}
	}
}

// try erases a batch in one transaction, unless it is told which position to wait for.
func (e *eraser) try(ctx context.Context, b eraseBatch, hold bool) (behind int64, err error) {
	var done batchDone
	err = e.db.asEraser(ctx, func(q *dbsqlc.Queries, asServer func() error) error {
		if err := q.ErasureLock(ctx); err != nil {
			return err
		}
		if err := q.ReactionHold(ctx); err != nil { // before the other locks
			return err
		}
		if err := q.SearchHold(ctx); err != nil {
			return err
		}
		if hold {
			if err := e.holdLog(ctx, q); err != nil {
				return err
			}
		}
		if err := q.LongStatements(ctx); err != nil { // a conversation may be long
			return err
		}
		told, err := q.ErasureBatch(ctx, dbsqlc.ErasureBatchParams{
			Erasure: e.done.ID, AgentIds: b.agents, SessionIds: b.sessions, Positions: b.positions,
		})
		if err != nil {
			return err
		}
		if err := json.Unmarshal(told, &done); err != nil || done.Behind != 0 {
			return err
		}
		if err := asServer(); err != nil {
			return err
		}
		if done.Deliveries, err = eraseDeliveries(ctx, q, b); err != nil {
			return err
		}
		return eraseReactions(ctx, q, b)
	})
	if err != nil || done.Behind != 0 {
		return done.Behind, err
	}
	e.done.Conversations += done.Conversations
	e.done.Events += done.Events
	e.done.Sessions += done.Sessions
	e.done.DeadLetters += done.DeadLetters
	e.done.Deliveries += done.Deliveries
	e.db.tail.forget()
	return 0, nil
}

// batchDone is what erase_batch tells.
type batchDone struct {
	Behind        int64 `json:"behind"`
	Conversations int64 `json:"conversations"`
	Events        int64 `json:"events"`
	Sessions      int64 `json:"sessions"`
	DeadLetters   int64 `json:"dead_letters"`
	Deliveries    int64 `json:"-"`
}

// holdLog keeps everybody from appending for a moment, in which the follower comes to
// the head: of a conversation that never rests, some event would always be ahead of it.
func (e *eraser) holdLog(ctx context.Context, q *dbsqlc.Queries) error {
	head, err := q.LogHold(ctx)
	if err != nil {
		return err
	}
	err = e.db.awaitFollower(ctx, head, time.Now().Add(eraseHold))
	if errors.Is(err, ErrNotFolded) {
		return nil // the batch tells
	}
	return err
}

// forgetStatistics has the planner forget texts, table by table.
func (e *eraser) forgetStatistics(ctx context.Context) error {
	var names []string
	err := e.db.asEraser(ctx, func(q *dbsqlc.Queries, _ func() error) (err error) {
		names, err = q.StatisticsStale(ctx)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		err := e.again(ctx, func() error {
			return e.db.asEraser(ctx, func(q *dbsqlc.Queries, _ func() error) error {
				if err := q.LongStatements(ctx); err != nil {
					return err
				}
				return q.StatisticsForget(ctx, name)
			})
		})
		if err != nil {
			return fmt.Errorf("gathering the statistics of %s anew: %w", name, err)
		}
	}
	return nil
}

// again repeats what somebody else was in the way of, for a while.
func (e *eraser) again(ctx context.Context, do func() error) error {
	for deadline := time.Now().Add(erasePatience); ; {
		err := do()
		if !isContention(err) || time.Now().After(deadline) {
			return err
		}
		if err := sleep(ctx, erasePoll); err != nil {
			return err
		}
	}
}

// dropBodies deletes what the quarantine has.
func (e *eraser) dropBodies(ctx context.Context) (err error) {
	if len(e.plan.bodies) > 0 {
		e.done.Quarantined, err = e.db.q.QuarantineErase(ctx, e.plan.bodies)
	}
	return err
}

// finish notes the end.
func (e *eraser) finish(ctx context.Context) error {
	return e.db.asEraser(ctx, func(q *dbsqlc.Queries, _ func() error) error {
		return q.ErasureFinish(ctx, dbsqlc.ErasureFinishParams{Erasure: e.done.ID, Quarantined: e.done.Quarantined})
	})
}

// ErasedUntil is up to when a conversation is erased: nothing of it comes in again
// that is not later. ok is false if it is not erased.
func (db *DB) ErasedUntil(ctx context.Context, of Conversation) (until time.Time, ok bool, err error) {
	until, err = db.q.ErasedUntil(ctx, dbsqlc.ErasedUntilParams{SessionID: of.SessionID, AgentID: of.AgentID})
	if err != nil {
		return time.Time{}, false, fmt.Errorf("looking whether a session was erased: %w", err)
	}
	return until, until.After(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), nil
}
