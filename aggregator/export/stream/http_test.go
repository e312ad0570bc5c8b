package stream_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/export/stream"
	"rapport/api/webhook"
	"rapport/internal/guard"
	"rapport/store"
	"rapport/store/storetest"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// receiver takes CloudEvents as an endpoint should: it verifies them first.
type receiver struct {
	*inbox
	t        *testing.T
	verifier *webhook.Verifier

	mu       sync.Mutex
	answer   func(w http.ResponseWriter, batch int, size int) bool // false: it has answered; guarded by mu
	requests int                                                   // guarded by mu
	ids      map[string]string                                     // bodies by webhook-id; guarded by mu
	events   []map[string]any                                      // guarded by mu
}

func newReceiver(t *testing.T) (*receiver, *peer, stream.Sink) {
	t.Helper()
	verifier, err := webhook.NewVerifier([]string{secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{inbox: newInbox(), t: t, verifier: verifier, ids: make(map[string]string)}
	p := newPeer(t, r)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	sink, err := stream.NewHTTP(stream.HTTPOptions{URL: p.url() + "/in?token=x", Name: "crm", Secret: secret, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return r, p, sink
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return // cut off
	}
	if err := r.verifier.Verify(request.Header, body, time.Now()); err != nil {
		r.t.Error(err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if kind := request.Header.Get("Content-Type"); kind != "application/cloudevents-batch+json" || request.URL.RawQuery != "token=x" {
		r.t.Error(kind, request.URL)
	}
	var events []struct {
		Data json.RawMessage
	}
	var whole []map[string]any
	if err := errors.Join(json.Unmarshal(body, &events), json.Unmarshal(body, &whole)); err != nil || len(events) == 0 {
		r.t.Error(err, len(events))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	id := request.Header.Get("Webhook-Id")
	if before, known := r.ids[id]; known && before != string(body) {
		r.t.Errorf("%s is the id of two bodies", id)
	}
	r.ids[id] = string(body)
	if r.answer != nil && !r.answer(w, len(events), len(body)) {
		return
	}
	for _, e := range events {
		if err := r.add(e.Data); err != nil {
			r.t.Error(err)
		}
	}
	r.events = append(r.events, whole...)
	w.WriteHeader(http.StatusAccepted)
}

func (r *receiver) set(answer func(w http.ResponseWriter, batch, size int) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func TestEverythingReachesAnEndpointInTheOrderOfTheLog(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	r, p, sink := newReceiver(t)
	failing := 0
	r.set(func(w http.ResponseWriter, _, _ int) bool { // every third time
		if failing++; failing%3 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return failing%3 != 0
	})
	stop := follow(t, db, "crm=https://crm.example/in?token=x#from=beginning", sink)
	put(t, db, talk("first", 700)...)
	r.wait(t, 100)
	p.kill()
	put(t, db, talk("second", 200)...)
	p.start()
	put(t, db, talk("third", 100)...)
	got := r.wait(t, 1000)
	for i, e := range got {
		if e.position != int64(i+1) {
			t.Fatalf("%d came as the %d. event", e.position, i+1)
		}
	}
	stop()
	if info := infoOf(t, db); info.Position != 1000 || info.Sent != 1000 || info.Destination != "https://crm.example" {
		t.Errorf("%+v", info)
	}
}

func TestAnEventIsACloudEvent(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	r, _, sink := newReceiver(t)
	hello := say("A80", "s-1", "<b>hello</b> & 東京\u2028")[0]
	hello.OccurredAt = noon.Add(1500 * time.Microsecond)
	hello.Payload = []byte(`{"n":1705312200.0,"big":123456789012345678901234567890,"s":"\u0000\ud800 <>&"}`)
	odd := &rapport.Event{Fingerprint: [32]byte{1}, OccurredAt: noon, ReceivedAt: noon, Type: "my\x01type", Payload: []byte("\xff{")}
	put(t, db, hello, odd)
	follow(t, db, "crm=https://crm.example#from=beginning", sink)
	r.wait(t, 2)
	r.mu.Lock()
	defer r.mu.Unlock()
	first, second := r.events[0], r.events[1]
	data := first["data"].(map[string]any)
	delete(first, "data")
	want := map[string]any{
		"specversion": "1.0", "id": "1", "source": "urn:rapport:crm", "type": "chat.push", "subject": "s-1",
		"time": "2026-03-01T12:00:00.0015Z", "datacontenttype": "application/json",
	}
	for attribute, value := range want {
		if first[attribute] != value {
			t.Errorf("%s is %v, want %v", attribute, first[attribute], value)
		}
	}
	if len(first) != len(want) {
		t.Errorf("there are %v", first)
	}
	if data["message"] != "<b>hello</b> & 東京\u2028" || data["occurred_at"] != "2026-03-01T12:00:00.001500Z" || data["position"] != 1.0 {
		t.Errorf("data %v", data)
	}
	for id, body := range r.ids {
		if strings.Contains(id, ".") || !strings.Contains(body, `"payload":`+string(hello.Payload)) {
			t.Errorf("%s: %s", id, body)
		}
	}
	if _, hasSubject := second["subject"]; hasSubject || second["type"] != "my\uFFFDtype" {
		t.Errorf("%v", second)
	}
	if data := second["data"].(map[string]any); data["payload"] != nil || data["payload_raw"] != "/3s=" {
		t.Errorf("data %v", data)
	}
}

func TestWhatAnEndpointRefusesAsTooLargeGoesWithoutItsContent(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	r, _, sink := newReceiver(t)
	r.set(func(w http.ResponseWriter, _, size int) bool {
		if size > 10_000 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		return size <= 10_000
	})
	put(t, db, talk("many", 60)...)
	put(t, db, say("a", "s", strings.Repeat("x", 20_000))...)
	put(t, db, talk("more", 39)...)
	stop := follow(t, db, "crm=https://crm.example#from=beginning", sink)
	got := r.wait(t, 100)
	stop()
	for i, e := range got {
		if e.position != int64(i+1) || (e.omitted > 0) != (e.position == 61) {
			t.Errorf("%d came as the %d., omitted %d", e.position, i+1, e.omitted)
		}
	}
	if info := infoOf(t, db); info.Omitted != 1 || info.Position != 100 {
		t.Errorf("%+v", info)
	}
}

func TestAnEventThatIsRefusedForEverCanBePassedOver(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	r, p, sink := newReceiver(t)
	p.handler = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		if bytes.Contains(body, []byte("poison")) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		r.ServeHTTP(w, request)
	})
	p.kill()
	p.start()
	put(t, db, talk("before", 20)...)
	put(t, db, say("a", "s", "poison")...)
	put(t, db, talk("after", 20)...)
	follow(t, db, "crm=https://crm.example#from=beginning", sink)
	r.wait(t, 20)
	waitFor(t, db, 20)
	if err := db.StreamSet(t.Context(), "test", "crm", store.StreamStart{Position: 21}); err != nil {
		t.Fatal(err)
	}
	if got := r.wait(t, 40); got[20].position != 22 {
		t.Errorf("%+v", got[20])
	}
}

func TestADestinationIsLeftAloneForAsLongAsItAsks(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "": 0, "soon": 0, "Mon, 02 Jan 2006 15:04:05 GMT": 0} {
		p := newPeer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", header)
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		sink, err := stream.NewHTTP(stream.HTTPOptions{URL: p.url(), Name: "crm", Secret: secret, Transport: http.DefaultTransport})
		if err != nil {
			t.Fatal(err)
		}
		err = sink.Send(t.Context(), []*stream.Record{{Position: 1, Data: []byte("{}")}})
		var asking interface{ RetryAfter() time.Duration }
		if !errors.As(err, &asking) || asking.RetryAfter() != want || !strings.Contains(err.Error(), "429") {
			t.Errorf("%q: %v", header, err)
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := false
	other := newPeer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere = true }))
	p := newPeer(t, http.RedirectHandler(other.url(), http.StatusTemporaryRedirect))
	sink, err := stream.NewHTTP(stream.HTTPOptions{URL: p.url(), Name: "crm", Secret: secret, Transport: http.DefaultTransport})
	if err != nil {
		t.Fatal(err)
	}
	err = sink.Send(t.Context(), []*stream.Record{{Position: 1, Data: []byte("{}")}})
	if err == nil || elsewhere {
		t.Errorf("%v, followed %t", err, elsewhere)
	}
}

func TestAPrivateAddressIsRefusedAndNoURLIsTold(t *testing.T) {
	t.Parallel()
	p := newPeer(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	c, err := stream.Parse("crm=" + p.url())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Open(t.Context(), c, secret, new(guard.Guard)); !errors.Is(err, guard.ErrRefused) {
		t.Error(err)
	}
	c, err = stream.Parse("crm=" + strings.Replace(p.url(), "127.0.0.1", "localhost", 1) + "/very-secret?token=very-secret")
	if err != nil {
		t.Fatal(err)
	}
	sink, err := stream.Open(t.Context(), c, secret, new(guard.Guard))
	if err != nil {
		t.Fatal(err)
	}
	err = sink.Send(t.Context(), []*stream.Record{{Position: 1, Data: []byte("{}")}})
	if !errors.Is(err, guard.ErrRefused) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// erase erases a session, once it is folded.
func erase(t *testing.T, db *storetest.Database, request store.ErasureRequest) {
	t.Helper()
	db.Exec(t, "rapport_owner", "UPDATE followers SET position = (SELECT position FROM log_head) WHERE name = 'sessions'")
	request.By = "test"
	plan, err := db.PlanErasure(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsErasedBeforeItIsSentIsSentAsAStub(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	r, _, sink := newReceiver(t)
	tried := make(chan struct{})
	once := sync.OnceFunc(func() { close(tried) })
	r.set(func(w http.ResponseWriter, _, _ int) bool {
		once()
		w.WriteHeader(http.StatusBadGateway)
		return false
	})
	put(t, db, say("a", "gone", "hush", "hush again")...)
	put(t, db, say("a", "stays", "hello")...)
	follow(t, db, "crm=https://crm.example#from=beginning", sink)
	select {
	case <-tried:
	case <-time.After(time.Minute):
		t.Fatal("nothing was sent")
	}
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "gone"})
	r.set(nil)
	got := r.wait(t, 4)
	for _, e := range got[:2] {
		if !e.erased || e.message != "" || e.payload != store.StubPayload {
			t.Errorf("%+v", e)
		}
	}
	if got[2].message != "hello" || got[2].erased {
		t.Errorf("%+v", got[2])
	}
	if last := got[3]; last.eventType != store.ErasedEvent || !strings.Contains(last.payload, `"gone"`) || last.erased {
		t.Errorf("%+v", last)
	}
}

func TestAStreamSendsWhatItsFiltersLetThrough(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	put(t, db, say("a", "s", "one", "two")...)
	put(t, db, say("b", "s", "not of a")...)
	join := say("a", "s", "join")[0]
	join.Type = rapport.RoomJoin
	posing := say("b", "t", "posing")[0]
	posing.Type = store.ErasedEvent // no delivery makes an announcement
	put(t, db, join, posing)
	put(t, db, say("c", "t", "of c")...)
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "s"}) // of a and of b
	erase(t, db, store.ErasureRequest{Kind: store.EraseAgent, AgentID: "b"})
	for filters, want := range map[string]string{
		"":                                  "1 2 3 4 5 6 7 8",
		"agent=a":                           "1 2 4 7",
		"agent=b":                           "3 5 7 8",
		"agent=a&agent=c":                   "1 2 4 6 7",
		"type=room.join":                    "4 7 8",
		"agent=a&type=chat.push":            "1 2 7",
		"agent=nobody":                      "",
		"agent=c&type=room.join&type=other": "",
	} {
		r, _, sink := newReceiver(t)
		stop := follow(t, db, "crm=https://crm.example#from=beginning&"+filters, sink)
		r.wait(t, len(strings.Fields(want)))
		waitForHead(t, db)
		stop()
		all, _ := r.all()
		var got []string
		for _, e := range all {
			got = append(got, strconv.FormatInt(e.position, 10))
			if filters == "agent=a" && strings.Contains(e.payload, `"b"`) {
				t.Errorf("%s tells of another agent: %s", filters, e.payload)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", filters, got, want)
		}
		if err := db.StreamRemove(t.Context(), "test", "crm"); err != nil {
			t.Fatal(err)
		}
	}
}

// waitForHead waits until the one stream there is has come to the head.
func waitForHead(t *testing.T, db *storetest.Database) {
	t.Helper()
	head, err := db.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, db, head)
}

// waitFor waits until the one stream there is has come to a position.
func waitFor(t *testing.T, db *storetest.Database, position int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		moved := db.Watch.Moved()
		infos, err := db.Streams(ctx, noon)
		if err != nil {
			t.Fatal(err)
		}
		if len(infos) == 1 && infos[0].Position == position {
			return
		}
		select {
		case <-moved:
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal(infos)
		}
	}
}
