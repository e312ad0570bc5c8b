package deliver

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"rapport/internal/guard"
	"rapport/store"
	"rapport/store/storetest"
)

// listen is a listener that does with each connection what it is told to.
func listen(t *testing.T, with func(net.Conn)) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go with(conn)
		}
	}()
	return listener
}

func destinationAt(t *testing.T, url string) (Destination, *http.Client) {
	t.Helper()
	d, err := Destination{Name: "crm", Kind: HTTP, URL: url, Timeout: 50 * time.Millisecond, Concurrency: 1}.complete()
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(guard.New(loopback), &d)
	t.Cleanup(client.CloseIdleConnections)
	return d, client
}

func TestAHandshakeThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	accepted := make(chan bool, 100)
	silent := listen(t, func(net.Conn) { accepted <- true })
	d, client := destinationAt(t, "https://"+silent.Addr().String())
	for deadline := time.Now().Add(patience); len(accepted) < 3; {
		if err := d.send(t.Context(), client, &Delivery{ID: "d1"}); err == nil || time.Now().After(deadline) {
			t.Fatalf("%v after %d connections", err, len(accepted))
		}
	}
}

func TestAConnectionThatDiesSilentlyIsReplaced(t *testing.T) {
	t.Parallel()
	peer := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	peer.EnableHTTP2 = true
	peer.StartTLS()
	t.Cleanup(peer.Close)
	var mu sync.Mutex
	frozen, isFrozen := make(chan struct{}), false
	between := listen(t, func(conn net.Conn) {
		mu.Lock()
		mine := frozen
		if isFrozen {
			mine = nil
		}
		mu.Unlock()
		there, err := net.Dial("tcp", peer.Listener.Addr().String())
		if err != nil {
			return
		}
		t.Cleanup(func() { _ = there.Close() })
		go relay(there, conn, mine)
		relay(conn, there, mine)
	})
	d, client := destinationAt(t, "https://"+between.Addr().String())
	d.Timeout = time.Second // for the first handshake; what looks after the connection is as short as before
	trusted := x509.NewCertPool()
	trusted.AddCert(peer.Certificate())
	client.Transport.(*bounded).TLSClientConfig.RootCAs = trusted
	client.Transport.(*bounded).TLSClientConfig.ServerName = "example.com"
	client.Transport.(*bounded).TLSHandshakeTimeout = time.Second
	if err := d.send(t.Context(), client, &Delivery{ID: "d1"}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	isFrozen = true
	close(frozen)
	mu.Unlock()
	for deadline := time.Now().Add(patience); d.send(t.Context(), client, &Delivery{ID: "d2"}) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the dead connection is still used")
		}
	}
}

// relay copies until it is frozen, after which it reads and says nothing.
func relay(to io.Writer, from io.Reader, frozen <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-frozen:
			continue
		default:
		}
		if err != nil {
			return
		}
		_, _ = to.Write(buffer[:n])
	}
}

func TestRetryAfterMayBeAnything(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "-1": 0, "1.5": 0, "soon": 0, " 120 ": 2 * time.Minute, "2147483648": maxWait, "99999999999999999999999": maxWait,
		"Fri, 31 Dec 9999 23:59:59 GMT": maxWait, "Thu, 01 Jan 1970 00:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func TestSlackMayAskToWaitInAnyWay(t *testing.T) {
	t.Parallel()
	peer := newPeer(t)
	d, client := destinationAt(t, peer.URL)
	d.Kind, d.Timeout = Slack, patience
	for value, want := range map[string]time.Duration{"": 0, "soon": 0, "9999999999999": maxWait, "30": 30 * time.Second} {
		peer.answers(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		var failed *sendError
		err := d.send(t.Context(), client, &Delivery{ID: "d1", Body: json.RawMessage(`{}`)})
		if !errors.As(err, &failed) || !failed.isLimit || failed.isDown || failed.wait != want {
			t.Errorf("%q: %+v, want to wait for %v", value, err, want)
		}
	}
}

func TestATemplatesMessageForSlackIsSentAsItIs(t *testing.T) {
	t.Parallel()
	message := `{"text": "hi", "metadata": {"event_type": "x"}, "blocks": [{"type": "of-tomorrow", "value": 1.0}]}`
	sent, err := slackMessage(&Delivery{}, []byte(" "+message+"\n"), true)
	if err != nil || string(sent) != message {
		t.Errorf("%s, %v", sent, err)
	}
}

func TestWhatIsKnownOfADestinationOutlivesAReload(t *testing.T) {
	t.Parallel()
	to := Destination{Name: "crm", Kind: HTTP, URL: "http://127.0.0.1:1/", Headers: http.Header{"X-Key": {"a"}}}
	d, err := newDeliverer(nil, settings(to), NewMetrics(), storetest.Logger(), fast)
	if err != nil {
		t.Fatal(err)
	}
	crm := func() *line { return d.lines.ofQueue(store.DeliveryQueue("crm")) }
	crm().breaker.Open()
	crm().record(&sendError{isLimit: true, wait: time.Minute})
	same := to
	same.Headers = http.Header{"X-Key": {"a"}}
	same.Render = func(json.RawMessage) ([]byte, error) { return []byte("new"), nil }
	if err := d.Reload(settings(same, Destination{Name: "new", Kind: HTTP, URL: "http://127.0.0.1:2/"})); err != nil {
		t.Fatal(err)
	}
	if body, err := crm().destination.render(nil); err != nil || string(body) != "new" {
		t.Errorf("the template makes %s, %v", body, err)
	}
	if crm().breaker.State() != circuitbreaker.OpenState || crm().blocked() < 50*time.Second {
		t.Error("a reload has forgotten that the destination is down, and wants to be left alone")
	}
	changes := map[string]Settings{"network": {Destinations: []Destination{to}}}
	for name, change := range map[string]func(*Destination){
		"URL":     func(d *Destination) { d.URL += "other" },
		"header":  func(d *Destination) { d.Headers = http.Header{"X-Key": {"b"}} },
		"secrets": func(d *Destination) { d.Secrets = []string{"s"} },
		"timeout": func(d *Destination) { d.Timeout = time.Second },
	} {
		other := to
		change(&other)
		changes[name] = settings(other)
	}
	for name, changed := range changes {
		if err := errors.Join(d.Reload(settings(to)), d.Reload(changed)); err != nil {
			t.Fatal(err)
		}
		if crm().breaker.State() != circuitbreaker.ClosedState || crm().blocked() != 0 {
			t.Errorf("another %s, and it is as before", name)
		}
		crm().breaker.Open()
	}
}

func TestAQueueThatGoesHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	db, slow, quick := storetest.New(t), newPeer(t), newPeer(t)
	goOn := make(chan struct{})
	slow.answers(func(http.ResponseWriter, *http.Request) { <-goOn })
	patient, hanging := fast, slow.destination("hanging")
	patient.jobTimeout, patient.rescueAfter, hanging.Timeout = usual.jobTimeout, usual.rescueAfter, maxTimeout
	d, _ := begin(t, db, settings(hanging), patient)
	enqueue(t, db, some("hanging", 2)[0])
	slow.next(t)
	fewer := hanging
	fewer.Concurrency = 1
	if err := d.Reload(settings(fewer, quick.destination("first"))); err != nil {
		t.Fatal(err)
	}
	enqueue(t, db, Delivery{ID: "q1", Destination: "first"}, Delivery{ID: "q2", Destination: "second"})
	quick.next(t)
	if err := d.Reload(settings(hanging, quick.destination("second"))); err != nil {
		t.Fatal(err)
	}
	quick.next(t)
	close(goOn)
	enqueue(t, db, some("hanging", 2)[1]) // its queue is as it was, and works again
	awaitJobs(t, db, map[string]string{"d1": "completed 1", "d2": "completed 1", "q1": "completed 1", "q2": "completed 1"})
}

func TestAPanicGivesThePermitBack(t *testing.T) {
	t.Parallel()
	to := Destination{Name: "crm", Kind: HTTP, URL: "http://127.0.0.1:1/"}
	d, err := newDeliverer(nil, settings(to), NewMetrics(), storetest.Logger(), fast)
	if err != nil {
		t.Fatal(err)
	}
	queue := store.DeliveryQueue("crm")
	breaker := d.lines.ofQueue(queue).breaker
	breaker.HalfOpen()
	func() {
		defer func() { _ = recover() }()
		w := &worker{db: nil, lines: d.lines, counts: d.counts, tempo: fast, logger: d.logger} // which it panics of
		_ = w.Work(context.Background(), &river.Job[store.DeliveryJob]{JobRow: &rivertype.JobRow{ID: 1, Queue: queue}})
		t.Error("it does not panic")
	}()
	for deadline := time.Now().Add(patience); !breaker.TryAcquirePermit(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody may try any more")
		}
	}
}

func TestWhatCantBeSentAsAHeaderIsRefused(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]http.Header{
		"a line break": {"X": {"a\r\nb: s3cret"}}, "an odd name": {"X Y": {"s3cret"}}, "no value": {"Host": nil},
	} {
		err := Check(settings(Destination{Name: "crm", Kind: HTTP, URL: "http://127.0.0.1/", Headers: header}))
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
