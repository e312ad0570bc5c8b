package heal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/internal/heal"
	"rapport/internal/heal/recordtest"
	"rapport/store"
	"rapport/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var (
	noon = time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	now  = noon.Add(3 * time.Hour)
)

// said is a session of the record that has been over for two hours.
func said(id string, messages ...recordtest.Message) recordtest.Session {
	return recordtest.Session{
		ID: id, AgentCode: "A80HVD8577", RoomName: "room", Started: noon, LastSeen: noon.Add(time.Hour),
		Status: "ended", HasTranscript: true, Messages: messages,
	}
}

func line(at time.Duration, role, text string) recordtest.Message {
	return recordtest.Message{At: noon.Add(at), Role: role, Text: text}
}

// delivered is a message as a webhook brings it.
func delivered(sessionID string, at time.Duration, role, text string) *rapport.Event {
	return &rapport.Event{
		Fingerprint: sha256.Sum256(fmt.Append(nil, sessionID, at, role, text)), OccurredAt: noon.Add(at),
		ReceivedAt: noon.Add(at), Type: rapport.ChatPush, AgentID: "A80HVD8577", SessionID: sessionID, Role: role,
		Text: text, MessageType: "text", Payload: []byte("{}"),
	}
}

func newHealer(t *testing.T, db *storetest.Database, server *recordtest.Server) *heal.Healer {
	t.Helper()
	record, err := heal.NewRecord(heal.Options{URL: server.URL, User: recordtest.User, Secret: recordtest.Secret})
	if err != nil {
		t.Fatal(err)
	}
	record.SetPause(func(ctx context.Context, _ time.Duration) error { return ctx.Err() })
	return &heal.Healer{
		Record: record, DB: db.DB, Settle: heal.DefaultSettle, Limit: heal.DefaultLimit,
		Logger: storetest.Logger(), Now: func() time.Time { return now },
	}
}

// run heals, and requires that nothing fails.
func run(t *testing.T, h *heal.Healer) heal.Report {
	t.Helper()
	report, err := h.Run(t.Context())
	if err != nil || report.Err() != nil {
		t.Fatalf("%v, %v: %s", err, report.Err(), &report)
	}
	return report
}

func requireHealed(t *testing.T, h *heal.Healer, want int) {
	t.Helper()
	if report := run(t, h); report.Healed != want {
		t.Fatalf("healed %d messages, want %d: %s", report.Healed, want, &report)
	}
}

func deliver(t *testing.T, db *storetest.Database, events ...*rapport.Event) {
	t.Helper()
	if _, err := db.Append(t.Context(), events); err != nil {
		t.Fatal(err)
	}
}

// sessions are those of a session_id, after the log has been followed.
func sessions(t *testing.T, db *storetest.Database, sessionID string) []rapport.Session {
	t.Helper()
	projection, err := aggregator.NewSessions(rapport.DefaultSettings())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var running sync.WaitGroup
	following, stop := context.WithCancel(ctx)
	running.Go(func() {
		_ = aggregator.NewFollower(db.DB, db.Watch, projection, storetest.Logger()).Run(following)
	})
	defer running.Wait()
	defer stop()
	head, err := db.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.WaitForFollower(ctx, db.Watch, store.SessionsFollower, head); err != nil {
		t.Fatal(err)
	}
	rows, err := db.SessionsOfID(ctx, sessionID, "")
	if err != nil {
		t.Fatal(err)
	}
	var sessions []rapport.Session
	for _, row := range rows {
		sessions = append(sessions, row.Session)
	}
	return sessions
}

func requireMessages(t *testing.T, db *storetest.Database, sessionID string, want int64) {
	t.Helper()
	var got int64
	for _, s := range sessions(t, db, sessionID) {
		got += s.MessageCount
	}
	if got != want {
		t.Errorf("the sessions count %d messages, want %d", got, want)
	}
	requireListed(t, db, sessionID, want)
}

// requireListed requires that the lists have as many messages as the sessions count.
func requireListed(t *testing.T, db *storetest.Database, sessionID string, want int64) {
	t.Helper()
	listed, _, err := db.Messages(t.Context(), store.TranscriptQuery{SessionID: sessionID, Limit: 5000})
	if err != nil || int64(len(listed)) != want {
		t.Errorf("%d messages are listed, want %d; %v", len(listed), want, err)
	}
	viewed := storetest.Query(t, db, "rapport_reader", pgx.RowTo[int64],
		"SELECT count(*) FROM analytics.messages WHERE session_id = $1", sessionID)
	if viewed[0] != want {
		t.Errorf("the view has %d messages, want %d", viewed[0], want)
	}
}

func TestWhatTheWebhooksLostIsHealed(t *testing.T) {
	t.Parallel()

	t.Run("lost messages are appended, once", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		deliver(t, db, delivered("s", 300*time.Millisecond, "agent", "Hi"), delivered("s", 9*time.Second, "agent", "Fine"))
		h := newHealer(t, db, recordtest.New(t,
			said("s", line(0, "assistant", "Hi"), line(5*time.Second, "user", "How are you?"), line(9*time.Second, "assistant", "Fine")),
			said("lost", line(0, "user", "Hello?"), line(2*time.Second, "Bot", "Hello!"))))
		requireHealed(t, h, 3)
		requireHealed(t, h, 0)
		got := sessions(t, db, "s")
		if len(got) != 1 || got[0].MessageCount != 3 || got[0].TurnCount != 1 || got[0].FirstResponseMs != 4000 {
			t.Errorf("the session is %+v", got)
		}
		got = sessions(t, db, "lost")
		if len(got) != 1 || got[0].AgentMessageCount != 1 || got[0].AgentID != "A80HVD8577" || got[0].RoomName != "room" {
			t.Errorf("the lost session is %+v", got)
		}
	})

	t.Run("a delivery that comes later takes the place of the healed message", func(t *testing.T) {
		t.Parallel()
		late := []*rapport.Event{
			delivered("s", 400*time.Millisecond, "user", "Hello"), delivered("s", 2900*time.Millisecond, "agent", "Hello! How can I help?"),
			delivered("s", 40*time.Minute, "user", "Bye"),
		}
		db, without := storetest.New(t), storetest.New(t)
		h := newHealer(t, db, recordtest.New(t, said("s", line(0, "user", "Hello"),
			line(3*time.Second, "assistant", "Hello!"), line(40*time.Minute, "user", "Bye"))))
		requireHealed(t, h, 3)
		requireMessages(t, db, "s", 3)
		deliver(t, db, late...)
		deliver(t, without, late...)
		requireHealed(t, h, 0)
		if diff := cmp.Diff(sessions(t, without, "s"), sessions(t, db, "s"),
			cmpopts.IgnoreFields(rapport.Session{}, "FirstPosition", "LastPosition", "HealedUntil")); diff != "" {
			t.Errorf("sessions differ from those of the deliveries alone (-want +got):\n%s", diff)
		}
		requireMessages(t, db, "s", 3)
	})

	t.Run("whole seconds, cut or rounded, are the same message", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		deliver(t, db, delivered("s", 999*time.Millisecond, "user", "cut"), delivered("s", 5*time.Second, "user", "exact"),
			delivered("s", 8*time.Second+600*time.Millisecond, "user", "rounded"))
		requireHealed(t, newHealer(t, db, recordtest.New(t, said("s",
			line(0, "user", "cut"), line(5*time.Second, "user", "exact"), line(9*time.Second, "user", "rounded")))), 0)
	})

	t.Run("a delivered text may be longer than the record's, but not shorter", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		deliver(t, db, delivered("s", 0, "agent", "Well, let me see"), delivered("s", time.Minute, "agent", "Well"))
		requireHealed(t, newHealer(t, db, recordtest.New(t, said("s",
			line(0, "assistant", "Well, let me"), line(time.Minute, "assistant", "Well, let me")))), 1)
	})

	t.Run("of the same text twice in a second, the lost one counts", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		deliver(t, db, delivered("s", 400*time.Millisecond, "user", "Yes"))
		h := newHealer(t, db, recordtest.New(t, said("s", line(0, "user", "Yes"), line(0, "user", "Yes"))))
		run(t, h)
		requireHealed(t, h, 0)
		requireMessages(t, db, "s", 2)
		deliver(t, db, delivered("s", 700*time.Millisecond, "user", "Yes"))
		requireHealed(t, h, 0)
		requireMessages(t, db, "s", 2)
	})

	t.Run("a session that was delivered under another name of its agent stays one", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		e := delivered("s", 0, "user", "Hello")
		e.AgentID = "agent-7"
		deliver(t, db, e)
		h := newHealer(t, db, recordtest.New(t, said("s", line(0, "user", "Hello"), line(time.Second, "assistant", "Hi"))))
		requireHealed(t, h, 1)
		requireHealed(t, h, 0)
		if got := sessions(t, db, "s"); len(got) != 1 || got[0].AgentID != "agent-7" || got[0].MessageCount != 2 {
			t.Errorf("the sessions are %+v", got)
		}
	})

	t.Run("texts that Postgres can't hold are healed like others", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		h := newHealer(t, db, recordtest.New(t, said("s\x00", line(0, "user", "a\x00b"), line(0, "us\x00er", "<&>\u2028"))))
		requireHealed(t, h, 2)
		requireHealed(t, h, 0)
		requireMessages(t, db, "s\uFFFD", 2)
	})

	t.Run("several servers may heal at once", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		var messages []recordtest.Message
		for i := range 1200 {
			messages = append(messages, line(time.Duration(i)*3*time.Second, "user", fmt.Sprint("message ", i)))
		}
		server := recordtest.New(t, said("s", messages...))
		var healing sync.WaitGroup
		for range 3 {
			h := newHealer(t, db, server)
			healing.Go(func() {
				if report, err := h.Run(context.Background()); err != nil || report.Err() != nil {
					t.Error(err, report.Err())
				}
			})
		}
		healing.Wait()
		requireMessages(t, db, "s", 1200)
	})
}

// Whatever is lost of a conversation full of repetitions: healed, it counts as many
// messages as were said.
func TestNothingOfTheRecordIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var record []recordtest.Session
	later := make(map[string][]*rapport.Event)
	for i := range 40 {
		s := said(fmt.Sprint("session ", i))
		var at time.Duration
		var came []*rapport.Event
		for range 1 + rng.IntN(30) {
			at += time.Duration(rng.IntN(1500)) * time.Millisecond
			role, text := []string{"user", "agent"}[rng.IntN(2)], []string{"yes", "yes, please", "no"}[rng.IntN(3)]
			e := delivered(s.ID, at+time.Duration(len(s.Messages)), role, text)
			e.OccurredAt = e.OccurredAt.Truncate(time.Microsecond)
			said := line(at.Truncate(time.Second), role, text)
			if i%2 == 0 {
				said = line(at.Round(time.Second), role, text)
			}
			s.Messages = append(s.Messages, said)
			switch rng.IntN(3) {
			case 0:
				came = append(came, e)
			case 1:
				later[s.ID] = append(later[s.ID], e)
			}
		}
		record = append(record, s)
		if len(came) > 0 {
			deliver(t, db, came...)
		}
	}
	h := newHealer(t, db, recordtest.New(t, record...))
	run(t, h)
	for _, s := range record {
		requireMessages(t, db, s.ID, int64(len(s.Messages)))
		if len(later[s.ID]) > 0 {
			deliver(t, db, later[s.ID]...)
		}
	}
	requireHealed(t, h, 0)
	for _, s := range record {
		requireMessages(t, db, s.ID, int64(len(s.Messages)))
	}
}

func TestWhatIsLeftAlone(t *testing.T) {
	t.Parallel()
	hello := line(0, "user", "Hello")
	for name, c := range map[string]struct {
		change func(*recordtest.Session)
		want   heal.Report
	}{
		"a session without a transcript": {
			func(s *recordtest.Session) { s.HasTranscript = false }, heal.Report{Sessions: 1, Passed: 1},
		},
		"a session with an id that no delivery can have": {
			func(s *recordtest.Session) { s.ID = strings.Repeat("s", rapport.MaxIDBytes+1) },
			heal.Report{Sessions: 1, Passed: 1},
		},
		"a session that was seen a minute ago": {
			func(s *recordtest.Session) { s.Started, s.LastSeen = now.Add(-5*time.Minute), now.Add(-time.Minute) },
			heal.Report{Sessions: 1, Unsettled: 1},
		},
		"a session that goes on": {
			func(s *recordtest.Session) { s.Started, s.Status = now.Add(-10*time.Minute), "Active" },
			heal.Report{Sessions: 1, Unsettled: 1},
		},
		"the last hour of a session that goes on": {
			func(s *recordtest.Session) {
				s.Status, s.LastSeen = "active", now
				s.Messages = append(s.Messages, recordtest.Message{At: now.Add(-59 * time.Minute), Role: "user", Text: "now"})
			},
			heal.Report{Sessions: 1, Unsettled: 1, Messages: 1, Healed: 1},
		},
		"messages of a time that can't be": {
			func(s *recordtest.Session) {
				s.Messages = append(s.Messages, recordtest.Message{At: now.Add(25 * time.Hour), Role: "user"},
					recordtest.Message{At: time.Date(2014, 12, 31, 23, 59, 59, 0, time.UTC), Role: "user"})
			},
			heal.Report{Sessions: 1, Messages: 3, Healed: 1, Skipped: 2},
		},
		"nothing of a settled session": {
			func(*recordtest.Session) {}, heal.Report{Sessions: 1, Messages: 1, Healed: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session := said("s", hello)
			c.change(&session)
			got := run(t, newHealer(t, storetest.New(t), recordtest.New(t, session)))
			if diff := cmp.Diff(c.want, got, cmpopts.IgnoreUnexported(heal.Report{})); diff != "" {
				t.Errorf("the report differs (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("sessions beyond the limit, which the report tells", func(t *testing.T) {
		t.Parallel()
		h := newHealer(t, storetest.New(t), recordtest.New(t, said("a", hello), said("b", hello)))
		h.Limit = 2
		if report := run(t, h); !report.Cut || !strings.Contains(report.String(), "--limit") {
			t.Errorf("the report is %q", &report)
		}
		h.Limit = 3
		if report := run(t, h); report.Cut {
			t.Errorf("the report is %q", &report)
		}
	})
}

func TestABadSessionStopsNoOther(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	server := recordtest.New(t, said("1", line(0, "user", "a")), said("2", line(0, "user", "b")), said("3", line(0, "user", "c")),
		said("4", line(0, "user", "d")))
	server.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case strings.Contains(r.URL.Path, "/1/"):
			_, _ = w.Write([]byte(`{"messages": [{"timestamp`))
		case strings.Contains(r.URL.Path, "/2/"):
			w.WriteHeader(http.StatusNotFound)
		case strings.Contains(r.URL.Path, "/3/"):
			w.WriteHeader(http.StatusBadGateway)
		default:
			return false
		}
		return true
	})
	var logged bytes.Buffer
	h := newHealer(t, db, server)
	h.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	report, err := h.Run(t.Context())
	if err != nil || report.Failed != 3 || report.Healed != 1 {
		t.Errorf("%v: %s", err, &report)
	}
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), `session "1": the transcript can't be read`) {
		t.Errorf("the report fails with %v", err)
	}
	if strings.Count(logged.String(), "could not be healed") != 3 || strings.Contains(logged.String(), recordtest.Secret) {
		t.Errorf("logged %q", logged.String())
	}
}

func TestAServiceHealsOnThoughARunFails(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	server := recordtest.New(t, said("s", line(0, "user", "Hello")))
	tries := make(chan int, 1000)
	var count atomic.Int64
	server.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/s/") {
			return false
		}
		asked := int(count.Add(1))
		tries <- asked
		if asked == 1 {
			w.WriteHeader(http.StatusForbidden)
		}
		return asked == 1
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	service := &heal.Service{Healer: newHealer(t, db, server), Every: time.Millisecond, Logger: storetest.Logger()}
	go func() { ended <- service.Run(ctx) }()
	for try := range tries {
		if try == 4 { // the second run, which healed, is over for sure
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	requireMessages(t, db, "s", 1)
}

func TestWhatWasErasedIsNoLoss(t *testing.T) {
	t.Parallel()
	const secret = "Xylophone"
	db := storetest.New(t)
	server := recordtest.New(t, said("s", line(0, "user", secret+" 1"), line(10*time.Second, "assistant", secret+" 2"), line(time.Minute, "user", secret+" 3")))
	deliver(t, db, delivered("s", 0, "user", secret+" 1"), delivered("s", 10*time.Second, "agent", secret+" 2"))
	sessions(t, db, "s")
	plan, err := db.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "s", By: "cli:test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	if report := run(t, newHealer(t, db, server)); report.Healed != 0 || report.Messages != 0 || report.Skipped != 0 {
		t.Errorf("%s", &report)
	}
	if found := storetest.Query(t, db, "postgres", pgx.RowTo[string], "SELECT e::text FROM events e WHERE e::text LIKE '%' || $1 || '%'", secret); len(found) > 0 {
		t.Error(found)
	}
}
