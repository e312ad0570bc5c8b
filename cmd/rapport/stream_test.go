package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rapport/api/webhook"
	"rapport/store/storetest"
)

// endpoint is somebody else's, which takes CloudEvents.
type endpoint struct {
	*httptest.Server
	mu     sync.Mutex
	events map[float64]map[string]any // the data, by their positions; guarded by mu
	order  []float64                  // as they came first; guarded by mu
	away   bool                       // guarded by mu
}

func newEndpoint(t *testing.T, secret string) *endpoint {
	t.Helper()
	verifier, err := webhook.NewVerifier([]string{secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{events: make(map[float64]map[string]any)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(r.Header, body, time.Now())
		}
		var events []struct{ Data map[string]any }
		if err == nil {
			err = json.Unmarshal(body, &events)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.away {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		for _, event := range events {
			position := event.Data["position"].(float64)
			if e.events[position] == nil {
				e.order = append(e.order, position)
			}
			e.events[position] = event.Data
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) set(away bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.away = away
}

func (e *endpoint) has(n int) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.events) == n
}

func TestAStreamSurvivesItsServerAndItsDestination(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	url := "RAPPORT_DATABASE_URL=" + db.URL("rapport_server")
	crm := newEndpoint(t, "hush")
	env := []string{url, "RAPPORT_STREAM=crm=" + crm.URL + "/in?k=v#from=beginning", "RAPPORT_STREAM_SECRET=crm=hush", "RAPPORT_OUTBOUND_ALLOW=127.0.0.0/8,::1"}
	first, second := serve(t, nil, env...), serve(t, nil, env...)
	send := func(p *process, name string) {
		for i := range 20 {
			if got := p.post(chat(fmt.Sprint("s", i%3), fmt.Sprint(name, i), 1790607253+float64(i))); got.Code != 200 {
				t.Fatal(got)
			}
		}
	}
	send(first, "<b>both run</b> ")
	eventually(t, "20 events have arrived", func() bool { return crm.has(20) })
	crm.set(true)
	send(second, "the destination is away ")
	first.kill()
	send(second, "one server is gone ")
	crm.set(false)
	eventually(t, "60 events have arrived", func() bool { return crm.has(60) })
	if !slices.IsSorted(crm.order) {
		t.Errorf("they came in the order %v", crm.order)
	}
	var log struct{ Data []map[string]any }
	if code := second.get("/events?limit=100", &log); code != 200 || len(log.Data) != 60 {
		t.Fatal(code, len(log.Data))
	}
	for _, want := range log.Data {
		if got := crm.events[want["position"].(float64)]; !reflect.DeepEqual(got, want) {
			t.Fatalf("it was sent as %v, and GET /events has %v", got, want)
		}
	}
	metrics := fetch(t, second.base+"/metrics", "")
	for _, want := range []string{
		`rapport_stream_position{stream="crm"} `, `rapport_stream_lag_events{stream="crm"} `, `rapport_stream_lag_seconds{stream="crm"} `,
		`rapport_stream_omissions{stream="crm"} 0`, `rapport_stream_sent_total{stream="crm"} `, `rapport_stream_failures_total{stream="crm"} `,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	steer(t, second, crm, url)
}

// steer does what an operator may do with a stream.
func steer(t *testing.T, server *process, crm *endpoint, url string) {
	t.Helper()
	listed := func() map[string]any {
		out, stderr, code := runRapport(t, []string{"stream", "list", "--json"}, url)
		var line map[string]any
		if err := json.Unmarshal([]byte(out), &line); code != 0 || err != nil {
			t.Fatal(code, stderr, out)
		}
		return line
	}
	eventually(t, "the stream is at the head", func() bool { return listed()["position"] == 60.0 })
	if line := listed(); line["name"] != "crm" || line["destination"] != crm.URL || line["sent"] != 60.0 || line["lag_events"] != 0.0 {
		t.Errorf("%v", line)
	}
	if _, stderr, code := runRapport(t, []string{"stream", "remove", "crm"}, url); code == 0 || !strings.Contains(stderr, "running server") {
		t.Error(code, stderr)
	}
	crm.mu.Lock()
	maps.DeleteFunc(crm.events, func(position float64, _ map[string]any) bool { return position > 50 })
	crm.mu.Unlock()
	if _, stderr, code := runRapport(t, []string{"stream", "reset", "crm", "--to", "50"}, url); code != 0 {
		t.Error(code, stderr)
	}
	eventually(t, "the last 10 have arrived again", func() bool { return crm.has(60) })
	server.terminate()
	if out, stderr, code := runRapport(t, []string{"stream", "omitted", "crm"}, url); code != 0 || !strings.HasPrefix(out, "POSITION") {
		t.Error(code, stderr, out)
	}
	if _, stderr, code := runRapport(t, []string{"stream", "remove", "crm"}, url); code != 0 {
		t.Error(code, stderr)
	}
	for _, args := range [][]string{{"remove", "crm"}, {"reset", "crm", "--to", "head"}, {"omitted", "crm"}} {
		if _, stderr, code := runRapport(t, append([]string{"stream"}, args...), url); code == 0 || !strings.Contains(stderr, "no such stream") {
			t.Error(args, code, stderr)
		}
	}
}

func TestAStreamThatIsWronglyConfiguredIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ stream, secret, allow, says string }{
		{"crm=https://crm.example", "", "", "RAPPORT_STREAM_SECRET"},
		{"crm=https://crm.example", "other=hush", "", "needs a secret"},
		{"crm=https://crm.example", "hush", "", "NAME=SECRET"},
		{"crm=https://crm.example", "crm=hush,crm=hush", "", "two secrets"},
		{"crm=https://crm.example", "crm=hush,lake=hush", "", "does not name"},
		{"crm=https://crm.example crm=https://other.example", "crm=hush", "", "two streams"},
		{"lake=kinesis://x?region=eu", "lake=hush", "", "no use for a secret"},
		{"crm=https://crm.example", "crm=hush", "everything", "--outbound-allow"},
		{"crm=https://crm.example#form=head", "crm=hush", "", `"form"`},
	} {
		_, stderr, code := runRapport(t, []string{"serve", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir()},
			"RAPPORT_STREAM="+c.stream, "RAPPORT_STREAM_SECRET="+c.secret, "RAPPORT_OUTBOUND_ALLOW="+c.allow)
		oneLineError(t, stderr, code, c.says)
		if strings.Contains(stderr, "hush") {
			t.Errorf("it tells a secret: %s", stderr)
		}
	}
}
