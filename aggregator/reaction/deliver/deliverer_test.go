package deliver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"rapport"
	"rapport/api/webhook"
	"rapport/internal/guard"
	"rapport/store/storetest"
)

func TestADeliveryArrivesAsItIsAndSigned(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	to := p.destination("crm")
	to.Secrets = []string{"a plain secret", "whsec_c2VjcmV0IG51bWJlciB0d28="}
	to.Method, to.Headers = http.MethodPut, http.Header{"authorization": {"Bearer t0ken"}, "webhook-id": {"forged"}}
	begin(t, db, settings(to), fast)
	body := "{ \"b\": 1.0,\n\"a\":\"\\u0000 \\ud800 <é>\" }"
	enqueue(t, db, Delivery{ID: "rule/17", Rule: "rule", Destination: "crm", Body: json.RawMessage(body)})
	got := p.next(t)
	if got.id != "rule/17" || got.method != http.MethodPut || string(got.body) != body {
		t.Errorf("it was told %+v", got)
	}
	if got.header.Get("Authorization") != "Bearer t0ken" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("the headers are %v", got.header)
	}
	second, err := standardwebhooks.NewWebhook(to.Secrets[1])
	if err != nil || second.Verify(got.body, got.header) != nil {
		t.Errorf("the second secret does not verify: %v", got.header)
	}
	var seconds int64
	_, _ = fmt.Sscan(got.header.Get("webhook-timestamp"), &seconds)
	first, err := webhook.SignStandard(to.Secrets[0], got.id, time.Unix(seconds, 0), got.body)
	if err != nil || !strings.HasPrefix(got.header.Get("webhook-signature"), first+" ") {
		t.Errorf("the signatures are %q, want %s first", got.header.Get("webhook-signature"), first)
	}
}

func TestATemplateMakesTheBody(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	to, bad := p.destination("crm"), p.destination("bad")
	to.Headers = http.Header{"Content-Type": {"text/plain"}}
	to.Render = func(data json.RawMessage) ([]byte, error) { return []byte("<" + string(data) + ">"), nil }
	bad.Render = func(json.RawMessage) ([]byte, error) { panic("no such field") }
	begin(t, db, settings(to, bad), fast)
	enqueue(t, db, Delivery{ID: "good", Destination: "crm", Body: json.RawMessage(`1`)}, Delivery{ID: "bad", Destination: "bad", Body: json.RawMessage(`1`)})
	if got := p.next(t); string(got.body) != "<1>" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("it was told %+v", got)
	}
	awaitJobs(t, db, map[string]string{"good": "completed 1", "bad": "cancelled 1"})
	if dead := deadOnes(t, db); len(dead) != 1 || !strings.Contains(dead[0].Error, "template") {
		t.Errorf("dead are %+v", dead)
	}
}

func TestAnIDIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	three := some("crm", 3)
	if n := enqueue(t, db, three[0], three[0], three[1]); n != 2 {
		t.Errorf("%d are new, want 2", n)
	}
	begin(t, db, settings(p.destination("crm")), fast)
	p.ids(t, 2)
	awaitJobs(t, db, map[string]string{"d1": "completed 1", "d2": "completed 1"})
	if n := enqueue(t, db, three...); n != 1 {
		t.Errorf("%d are new after the others were delivered, want 1", n)
	}
	if ids := p.ids(t, 1); ids[0] != "d3" {
		t.Errorf("%v was told again", ids)
	}
	odd := Delivery{ID: "rule\n\x00" + strings.Repeat("é", 10_000), Destination: "crm", Body: json.RawMessage(`1`)}
	if enqueue(t, db, odd) != 1 || enqueue(t, db, odd) != 0 {
		t.Error("an odd id does not name one delivery")
	}
	if got := p.next(t); !strings.HasPrefix(got.id, "sha256:") {
		t.Errorf("an odd id became %q", got.id)
	}
}

func TestWhatFailsIsTriedAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	p.answers(status(500))
	log := new(notes)
	d, _ := beginLogged(t, db, settings(p.destination("crm")), fast, slog.New(slog.NewTextHandler(log, nil)))
	enqueue(t, db, some("crm", 1)...)
	for range 3 {
		if got := p.next(t); got.id != "d1" {
			t.Errorf("the id is %s", got.id)
		}
	}
	p.answers(status(204))
	eventually(t, "it is delivered", func() bool { return strings.HasPrefix(jobs(t, db)["d1"], "completed") })
	counted := testutil.ToFloat64(d.counts.attempts.WithLabelValues("crm", resultFailed))
	if counted < 3 || testutil.ToFloat64(d.counts.attempts.WithLabelValues("crm", resultDelivered)) != 1 {
		t.Errorf("%v failures are counted", counted)
	}
	if told := log.String(); strings.Count(told, "a delivery failed") != 1 || !strings.Contains(told, "answered 500") {
		t.Errorf("the log is to tell of it at once, and once:\n%s", told)
	}
}

func TestWhatIsDeadIsKeptUntilSomebodyDecides(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	p.answers(status(404))
	begin(t, db, settings(p.destination("crm")), fast)
	two := some("crm", 2)
	two[0].MaxAttempts, two[1].MaxAttempts = 2, 2
	enqueue(t, db, two...)
	awaitJobs(t, db, map[string]string{"d1": "discarded 2", "d2": "discarded 2"})
	dead := deadOnes(t, db)
	if len(dead) != 2 || dead[0].ID != "d2" || dead[0].Error != "answered 404 Not Found" || dead[0].Attempts != 2 || dead[0].FailedAt.IsZero() {
		t.Fatalf("dead are %+v", dead)
	}
	if tally, err := db.DeliveryTally(t.Context()); err != nil || tally["crm"].Dead != 2 || tally["crm"].Waiting != 0 {
		t.Errorf("the tally is %v, %v", tally, err)
	}
	// River deletes nothing of it.
	db.Exec(t, "rapport_server", "UPDATE river_job SET finalized_at = now() - interval '1 year'")

	p.answers(status(200))
	if found, err := db.RetryDeadDeliveries(t.Context(), []int64{dead[0].Job, 12345}, "test"); err != nil || len(found) != 1 {
		t.Errorf("%v are tried again: %v", found, err)
	}
	awaitJobs(t, db, map[string]string{"d1": "discarded 2", "d2": "completed 3"})
	if found, err := db.DeleteDeadDeliveries(t.Context(), []int64{dead[0].Job, dead[1].Job}, "test"); err != nil || !slices.Equal(found, []int64{dead[1].Job}) {
		t.Errorf("%v are deleted: %v", found, err)
	}
	if len(deadOnes(t, db)) != 0 || storetest.Query(t, db, "rapport_server", pgx.RowTo[int], "SELECT count(*)::int FROM deliveries")[0] != 1 {
		t.Error("something of the deleted one is left")
	}
	entries, err := db.AuditEntries(t.Context(), "", 1<<62, 10)
	if err != nil || len(entries) != 2 || entries[0].Action != "dead_letter.delete" || entries[1].Action != "dead_letter.retry" {
		t.Errorf("the audit has %+v, %v", entries, err)
	}
}

func TestADestinationThatHangsSlowsNobody(t *testing.T) {
	t.Parallel()
	db, quick, slow := storetest.New(t), newPeer(t), newPeer(t)
	slow.answers(hangs)
	patient, hanging := fast, slow.destination("slow")
	patient.jobTimeout, patient.rescueAfter, hanging.Timeout = usual.jobTimeout, usual.rescueAfter, maxTimeout
	begin(t, db, settings(quick.destination("quick"), hanging), patient)
	enqueue(t, db, some("slow", 100)...)
	slow.ids(t, defaultConcurrency) // all of its workers hang, and will until the test ends
	others := some("quick", 100)
	for i := range others {
		others[i].ID = "q" + others[i].ID
	}
	enqueue(t, db, others...)
	quick.ids(t, 100)
	if more := len(slow.told); more != 0 {
		t.Errorf("%d more than %d are under way to one that hangs", more, defaultConcurrency)
	}
}

func TestADestinationThatIsDownIsLeftAlone(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	p.answers(status(503))
	calm := fast
	calm.breakerDelay = time.Hour
	d, stop := begin(t, db, settings(p.destination("crm")), calm)
	enqueue(t, db, some("crm", 30)...)
	eventually(t, "the others are held", func() bool {
		return testutil.ToFloat64(d.counts.attempts.WithLabelValues("crm", resultHeld)) >= 20
	})
	if n := len(p.told); n > breakerFailures+defaultConcurrency {
		t.Errorf("it was told %d times", n)
	}
	if got := testutil.CollectAndCount(d.counts, "rapport_delivery_breaker"); got != 3 {
		t.Errorf("%d series tell of the breaker", got)
	}
	stop()
	unused := 0
	for _, state := range jobs(t, db) {
		if strings.HasSuffix(state, " 0") {
			unused++
		}
	}
	if unused < 20 {
		t.Errorf("%d deliveries have not used an attempt up", unused)
	}
	p.answers(status(200))
	begin(t, db, settings(p.destination("crm")), fast) // whose breaker is closed
	db.Exec(t, "rapport_server", "UPDATE river_job SET state = 'available', scheduled_at = now() WHERE finalized_at IS NULL")
	eventually(t, "all have arrived", func() bool {
		tally, err := db.DeliveryTally(t.Context())
		return err == nil && tally["crm"].Waiting == 0 && tally["crm"].Dead == 0
	})
}

func TestAPeerThatDiesAndComesBackGetsAll(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	address := p.Listener.Addr().String()
	begin(t, db, settings(p.destination("crm")), fast)
	p.Close()
	for _, d := range some("crm", 20) {
		enqueue(t, db, d)
	}
	eventually(t, "some have failed", func() bool {
		return len(storetest.Query(t, db, "rapport_server", pgx.RowTo[int64], "SELECT id FROM river_job WHERE errors <> '{}'")) > 0
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	again := &httptest.Server{Listener: listener, Config: &http.Server{Handler: p}}
	again.Start()
	t.Cleanup(again.Close)
	got := make(map[string]bool)
	for len(got) < 20 {
		got[p.next(t).id] = true
	}
	if dead := deadOnes(t, db); len(dead) != 0 {
		t.Errorf("dead are %+v", dead)
	}
}

func TestADestinationMayAskToWait(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	p.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) })
	begin(t, db, settings(p.destination("crm")), fast)
	one := some("crm", 1)
	one[0].MaxAttempts = 1
	enqueue(t, db, one...)
	p.ids(t, 3)
	p.answers(status(200))
	awaitJobs(t, db, map[string]string{"d1": "completed 1"})

	after := http.Header{"Retry-After": {"120"}}
	for code, isLimit := range map[int]bool{429: true, 503: false} {
		if e := answered(code, after).(*sendError); e.wait != 2*time.Minute || e.isLimit != isLimit || e.isDown == isLimit {
			t.Errorf("%d: %+v", code, e)
		}
	}
	for _, value := range []string{"", "-1", "soon", "Mon, 02 Jan 2006 15:04:05 GMT"} {
		if wait := retryAfter(http.Header{"Retry-After": {value}}); wait != 0 {
			t.Errorf("Retry-After: %s is %v", value, wait)
		}
	}
}

func TestTwoProcessesDeliverEachOnce(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	begin(t, db, settings(p.destination("crm")), fast)
	begin(t, db, settings(p.destination("crm")), fast)
	const n = 60
	enqueue(t, db, some("crm", n)...)
	ids := p.ids(t, n)
	if once := slices.Compact(slices.Clone(ids)); len(once) != n {
		t.Errorf("%d of %d arrived", len(once), n)
	}
	eventually(t, "all are done", func() bool {
		tally, err := db.DeliveryTally(t.Context())
		return err == nil && len(tally) == 0
	})
	if len(p.told) != 0 {
		t.Error("one was told twice")
	}
}

func TestAStopCallsBackWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	p.answers(hangs)
	_, stop := begin(t, db, settings(p.destination("crm")), fast)
	enqueue(t, db, some("crm", 1)...)
	p.next(t)
	stop()
	awaitJobs(t, db, map[string]string{"d1": "available 0"})
	p.answers(status(200))
	begin(t, db, settings(p.destination("crm")), fast)
	if got := p.next(t); got.id != "d1" {
		t.Errorf("%s was told", got.id)
	}
}

func TestDestinationsComeAndGo(t *testing.T) {
	t.Parallel()
	db, p, q := storetest.New(t), newPeer(t), newPeer(t)
	d, _ := begin(t, db, Settings{}, fast)
	enqueue(t, db, some("crm", 1)...)
	if err := d.Reload(settings(p.destination("crm"))); err != nil {
		t.Fatal(err)
	}
	p.ids(t, 1)
	moved := q.destination("crm")
	moved.Concurrency = 2
	if err := d.Reload(settings(moved)); err != nil {
		t.Fatal(err)
	}
	enqueue(t, db, some("crm", 2)[1])
	q.ids(t, 1)
	wrong := settings(Destination{Name: "crm", Kind: "carrier pigeon"})
	if err := d.Reload(wrong); err == nil || Check(wrong) == nil {
		t.Error("wrong settings are taken")
	}
	enqueue(t, db, some("crm", 3)[2])
	q.ids(t, 1)
}

func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	base := strings.Replace(gone.URL, "http://", "http://us3rname:passw0rd@", 1)
	gone.Close()
	secrets := []string{"us3rname", "passw0rd", "T0KEN/PATH", "qu3ry", "h3ader", "s1gning"}
	to := Destination{
		Name: "crm", Kind: HTTP, URL: base + "/services/T0KEN/PATH?key=qu3ry",
		Headers: http.Header{"X-Key": {"h3ader"}}, Secrets: []string{"s1gning"},
		Render: func(data json.RawMessage) ([]byte, error) { return data, nil },
	}
	channel := Destination{Name: "slack", Kind: Slack, URL: base + "/services/T0KEN/PATH?key=qu3ry"}
	careless := to
	careless.Name, careless.Render = "careless", func(json.RawMessage) ([]byte, error) { return nil, fmt.Errorf("bad key h3ader") }
	log := new(notes)
	beginLogged(t, db, settings(to, channel, careless), fast, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	three := []Delivery{
		{ID: "one", Destination: "crm", Body: json.RawMessage(`1`), MaxAttempts: 1},
		{ID: "two", Destination: "slack", Body: json.RawMessage(`1`), MaxAttempts: 1},
		{ID: "three", Destination: "careless", Body: json.RawMessage(`1`), MaxAttempts: 1},
	}
	enqueue(t, db, three...)
	eventually(t, "all are dead", func() bool { return len(deadOnes(t, db)) == 3 })
	kept := storetest.Query(t, db, "rapport_server", pgx.RowTo[string],
		"SELECT j::text FROM river_job j UNION ALL SELECT d::text FROM deliveries d UNION ALL SELECT q::text FROM river_queue q")
	everything := log.String() + strings.Join(kept, "\n")
	for _, secret := range secrets {
		if strings.Contains(everything, secret) {
			t.Errorf("%s is in\n%s", secret, everything)
		}
	}
	if !strings.Contains(everything, "connection refused") {
		t.Errorf("nothing tells what is wrong:\n%s", everything)
	}
	err := Check(Settings{Destinations: []Destination{{Name: "x", Kind: HTTP, URL: "http://us3rname:passw0rd@%zz/"}}})
	if err == nil || strings.Contains(err.Error(), "passw0rd") {
		t.Errorf("a wrong URL: %v", err)
	}
}

func TestRedirectsAreNotFollowedAndAnswersAreNotReadToTheirEnd(t *testing.T) {
	t.Parallel()
	p, elsewhere := newPeer(t), newPeer(t)
	d, client := destinationAt(t, p.URL)
	d.Timeout = patience
	p.answers(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP)
	if err := d.send(t.Context(), client, &Delivery{ID: "d1"}); err == nil || !strings.HasPrefix(err.Error(), "answered 307") || len(elsewhere.told) != 0 {
		t.Errorf("%v; %d were told elsewhere", err, len(elsewhere.told))
	}
	p.answers(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 4096)); err != nil {
				return
			}
		}
	})
	if err := d.send(t.Context(), client, &Delivery{ID: "d2"}); err != nil {
		t.Errorf("an endless answer: %v", err)
	}
}

func TestAPeerCanAnswerAnything(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nno\x00header\xff\x1b[31m t0ken-of-ours" + strings.Repeat("x", 5000) + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxAnswerHeaderBytes) + "\r\n\r\n",
		strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: "+strings.Repeat("x", 1000)+"\r\n\r\n", 1000),
		"HTTP/1.1 200", "",
	} {
		listener := listen(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		})
		d, client := destinationAt(t, "http://"+listener.Addr().String())
		d.Timeout, d.Headers = patience, http.Header{"Authorization": {"t0ken-of-ours"}}
		var failed *sendError
		if err := d.send(t.Context(), client, &Delivery{ID: "d1"}); !errors.As(err, &failed) || !failed.isDown {
			t.Errorf("%.60q: %v", answer, err)
		} else if text := err.Error(); len(text) > 4*maxShown || strings.Contains(text, "t0ken") || text != rapport.CleanText(text) {
			t.Errorf("%.60q: %q", answer, text)
		}
	}
}

func TestAnAttemptEndsInTime(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	p.answers(hangs)
	d, client := destinationAt(t, p.URL)
	if err := d.send(t.Context(), client, &Delivery{ID: "d1"}); err == nil || err.Error() != "no answer within 50ms" {
		t.Error(err)
	}
}

func TestRetriesComeLaterAndLater(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{
		-1: 2 * time.Second, 1: 2 * time.Second, 2: 4 * time.Second, 11: 2048 * time.Second, 12: time.Hour, 100: time.Hour, 32767: time.Hour,
	} {
		least, most := time.Hour*2, time.Duration(0)
		for range 1000 {
			wait := usual.retryIn(attempt)
			least, most = min(least, wait), max(most, wait)
		}
		if least < want*3/4 || most > want*5/4+1 || most-least < want/4 {
			t.Errorf("attempt %d: %v to %v, want about %v", attempt, least, most, want)
		}
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	_, port, _ := net.SplitHostPort(p.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} { // a name that leads there, too
		d, _ := destinationAt(t, "http://"+net.JoinHostPort(host, port))
		d.Timeout = patience
		client := newClient(guard.New(nil), &d)
		err := d.send(t.Context(), client, &Delivery{ID: "d1"})
		if err == nil || !strings.Contains(err.Error(), " is not an address of the internet") || len(p.told) != 0 {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestRiversUpkeepIsWithinTheServersRights(t *testing.T) {
	t.Parallel()
	db, p := storetest.New(t), newPeer(t)
	if err := db.CheckRiver(t.Context()); err != nil {
		t.Fatal(err)
	}
	enqueue(t, db, some("crm", 3)...)
	db.Exec(t, "rapport_server", `UPDATE river_job SET state = CASE args ->> 'id' WHEN 'd1' THEN 'completed' ELSE 'discarded' END::river_job_state,
		finalized_at = now() - interval '25 hours' WHERE args ->> 'id' <> 'd3'`)
	db.Exec(t, "rapport_server", `UPDATE river_job SET state = 'retryable', attempt = 1, scheduled_at = now() - interval '1 s' WHERE finalized_at IS NULL`)
	log := new(notes)
	_, stop := beginLogged(t, db, settings(p.destination("crm")), fast, errorsTo(log))
	awaitJobs(t, db, map[string]string{"d2": "discarded 0", "d3": "completed 2"})
	stop()
	if text := log.String(); text != "" {
		t.Errorf("the log has %s", text)
	}
	left := storetest.Query(t, db, "rapport_server", pgx.RowTo[string], "SELECT delivery_id FROM deliveries ORDER BY 1")
	if diff := cmp.Diff([]string{"d2", "d3"}, left); diff != "" {
		t.Error(diff)
	}
	db.Exec(t, "rapport_owner", "DELETE FROM river_migration WHERE version = 8")
	d, err := New(db.DB, Settings{}, NewMetrics(), storetest.Logger())
	if err != nil || d.Run(t.Context()) == nil {
		t.Error("it works with the tables of another River")
	}
}
