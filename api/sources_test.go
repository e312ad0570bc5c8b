package api

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rapport/api/webhook"
	"rapport/store"
)

// stored is a source with a secret and a token, each named after it.
func stored(name string, change ...func(*store.Source)) store.Source {
	digest := webhook.HashToken(name + "-token").SHA256
	s := store.Source{
		Name: name, Kinds: []string{"legacy", "account", "standard", "token"},
		Proofs: []store.SourceProof{{Secret: []byte(name + "-secret")}, {TokenSHA256: digest[:]}},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func setSources(t testing.TB, sources *Sources, all ...store.Source) {
	t.Helper()
	if err := sources.Set(all); err != nil {
		t.Fatal(err)
	}
}

// deliverTo posts a body to a source, from an address.
func deliverTo(h http.Handler, source, from, body string, headers ...string) *httptest.ResponseRecorder {
	path := "/webhook"
	if source != "" {
		path += "/" + source
	}
	r := newRequest(http.MethodPost, path, strings.NewReader(body), headers...)
	if from != "" {
		r.RemoteAddr = from
	}
	return send(h, r)
}

func signedBy(name string) []string {
	return []string{"X-bitHuman-Signature", webhook.SignLegacy(name+"-secret", []byte(join))}
}

func TestDeliveriesOfSeveralSources(t *testing.T) {
	t.Parallel()
	sources := newSources(t, []string{"default-secret"}, nil)
	near := func(s *store.Source) { s.Ranges = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} }
	setSources(t, sources, stored("kiosk"), stored("near", near))
	h := newServer(t, options{config: Config{Sources: sources}})
	for _, c := range []struct {
		promise      string
		source, from string
		headers      []string
		want         int
	}{
		{"the environment's source is one of them", "", "", signedBy("default"), 200},
		{"a stored one is another", "", "", signedBy("kiosk"), 200},
		{"which may be named", "kiosk", "", signedBy("kiosk"), 200},
		{"its token will do", "kiosk", "", []string{"X-API-Key", "kiosk-token"}, 200},
		{"another's proof will not", "kiosk", "", signedBy("default"), 401},
		{"a source that doesn't exist is answered as a wrong proof", "none", "", signedBy("kiosk"), 401},
		{"whatever its name is", "No%20ne", "", signedBy("kiosk"), 401},
		{"within its range", "", "203.0.113.9:1234", signedBy("near"), 200},
		{"out of its range, where others may come from", "", "192.0.2.1:1234", signedBy("near"), 401},
	} {
		w := deliverTo(h, c.source, c.from, join, c.headers...)
		if c.want == 200 && w.Code != 200 {
			t.Errorf("%s: %d %s", c.promise, w.Code, w.Body)
		}
		if c.want != 200 {
			wantProblem(t, w, c.want)
		}
	}
	if got, want := metricLines(t, h, "webhook_proven_total"), []string{
		`webhook_proven_total{source="default"} 1`, `webhook_proven_total{source="kiosk"} 3`, `webhook_proven_total{source="near"} 1`,
	}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for path, want := range map[string]int{"/webhook/": 404, "/webhook/kiosk/x": 404} {
		wantProblem(t, send(h, newRequest(http.MethodPost, path, nil)), want)
	}
	for _, path := range []string{"/webhook/kiosk", "/webhook/none"} {
		wantProblem(t, get(h, path), http.StatusMethodNotAllowed)
	}
}

func TestAnAddressThatNoSourceMayUseIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	sources := newSources(t, nil, nil)
	setSources(t, sources, stored("near", func(s *store.Source) { s.Ranges = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} }))
	h := newServer(t, options{config: Config{Sources: sources}})
	for _, source := range []string{"", "near", "none"} {
		path := strings.TrimSuffix("/webhook/"+source, "/")
		r := newRequest(http.MethodPost, path, failingReader{t}, signedBy("near")...)
		r.RemoteAddr = "198.51.100.1:99"
		p := wantProblem(t, send(h, r), http.StatusForbidden)
		if detail := p["detail"].(string); strings.Contains(detail, "203.0.113") || strings.Contains(detail, "near") {
			t.Errorf("it tells the range: %s", detail)
		}
	}
	if w := deliverTo(h, "", "[::ffff:203.0.113.5]:99", join, signedBy("near")...); w.Code != http.StatusOK {
		t.Errorf("an IPv4 address in IPv6's clothes: %d %s", w.Code, w.Body)
	}
	if got := metricLines(t, h, "webhook_out_of_range_total"); len(got) != 1 || got[0] != "webhook_out_of_range_total 3" {
		t.Errorf("metrics %v", got)
	}
	wantWebhooks(t, h, `{event_type="unknown",status="error"} 3`, `{event_type="room.join",status="success"} 1`)
}

func TestSourcesCanBeReplacedAtWork(t *testing.T) {
	t.Parallel()
	sources := newSources(t, nil, nil)
	h := newServer(t, options{config: Config{Sources: sources}})
	if w := post(h, join); w.Code != http.StatusOK || !sources.AreOpen() || sources.Any() {
		t.Errorf("without any source everything is taken: %d", w.Code)
	}
	setSources(t, sources, stored("one"))
	wantProblem(t, post(h, join), http.StatusUnauthorized)
	if w := post(h, join, signedBy("one")...); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	setSources(t, sources, stored("two"))
	wantProblem(t, post(h, join, signedBy("one")...), http.StatusUnauthorized)
	if err := sources.Set([]store.Source{stored("bad name")}); err == nil {
		t.Error("a wrong name is taken")
	}
	if w := post(h, join, signedBy("two")...); w.Code != http.StatusOK {
		t.Errorf("after a set that is none, the last one stays: %d %s", w.Code, w.Body)
	}
	setSources(t, sources)
	wantProblem(t, post(h, join), http.StatusUnauthorized)
	if sources.AreOpen() || sources.Any() {
		t.Error("removing the last source opens the door")
	}
	if got := sources.Untold(); len(got) != 2 {
		t.Errorf("what came from removed ones is still to be told: %+v", got)
	}
}

func TestAnExposedServerIsNeverOpen(t *testing.T) {
	t.Parallel()
	sources, err := NewSources(nil, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	h := newServer(t, options{config: Config{Sources: sources}})
	wantProblem(t, post(h, join), http.StatusUnauthorized)
	wantProblem(t, deliverTo(h, webhook.DefaultSource, "", join), http.StatusUnauthorized)
}

// logText is a log that tests can read.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAboveTheExpectedRateAllIsKept(t *testing.T) {
	t.Parallel()
	sources := newSources(t, nil, nil)
	rate := func(perSecond float64) func(*store.Source) {
		return func(s *store.Source) { s.ExpectedRate = perSecond }
	}
	setSources(t, sources, stored("busy", rate(4)), stored("calm", rate(0.5)), stored("free"))
	log, at := &logText{}, noon
	h := newServer(t, options{config: Config{
		Sources: sources, Logger: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time { return at },
	}})
	for i := range 10 {
		for _, name := range []string{"busy", "calm", "free"} {
			if w := deliverTo(h, name, "", join, signedBy(name)...); w.Code != http.StatusOK {
				t.Fatalf("delivery %d of %s: %d", i, name, w.Code)
			}
		}
	}
	wantOver := func(lines ...string) {
		t.Helper()
		if got := metricLines(t, h, "webhook_over_rate_total"); !slices.Equal(got, lines) {
			t.Errorf("%v, want %v", got, lines)
		}
	}
	wantOver(`webhook_over_rate_total{source="busy"} 6`, `webhook_over_rate_total{source="calm"} 9`)
	if got := strings.Count(log.String(), "sends more than expected"); got != 2 {
		t.Errorf("%d lines of the log, want one of each source:\n%s", got, log)
	}
	at = at.Add(time.Second)
	setSources(t, sources, stored("busy", rate(4)), stored("calm", rate(0.5)), stored("free"), stored("new"))
	for range 5 {
		deliverTo(h, "busy", "", join, signedBy("busy")...)
	}
	wantOver(`webhook_over_rate_total{source="busy"} 7`, `webhook_over_rate_total{source="calm"} 9`)

	untold := sources.Untold()
	if len(untold) != 3 {
		t.Fatalf("%+v", untold)
	}
	for _, tally := range untold {
		if tally.Source != "busy" {
			continue
		}
		second := at.Truncate(time.Microsecond)
		if tally.Proven != 15 || tally.OverRate != 7 || !tally.ProvenAt.Equal(second) || !tally.OverRateAt.Equal(second) {
			t.Errorf("untold: %+v", tally)
		}
	}
	sources.Told(untold)
	deliverTo(h, "calm", "", join, signedBy("calm")...)
	if rest := sources.Untold(); len(rest) != 1 || rest[0].Source != "calm" || rest[0].Proven != 1 {
		t.Errorf("what is told is told once: %+v", rest)
	}
}

func TestManySecretsShareOneGreatestCost(t *testing.T) {
	t.Parallel()
	sources := newSources(t, nil, nil)
	var many []store.Source
	for i := range 32 {
		many = append(many, stored(fmt.Sprint("source-", i)))
	}
	setSources(t, sources, many...)
	h := newServer(t, options{config: Config{Sources: sources, MaxBodyBytes: 1000}})
	body := func(size int) string {
		return `{"event_type":"test","text":"` + strings.Repeat("x", size-31) + `"}`
	}
	signed := func(text string) []string {
		return []string{"X-bitHuman-Signature", webhook.SignLegacy("source-31-secret", []byte(text))}
	}
	if w := deliverTo(h, "", "", body(240), signed(body(240))...); w.Code != http.StatusOK {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	p := wantProblem(t, deliverTo(h, "", "", body(900), signed(body(900))...), http.StatusRequestEntityTooLarge)
	if !strings.Contains(p["detail"].(string), "/webhook/{source}") {
		t.Errorf("it does not say what to do: %v", p["detail"])
	}
	if w := deliverTo(h, "source-31", "", body(900), signed(body(900))...); w.Code != http.StatusOK {
		t.Errorf("who names the source may send as much as ever: %d %s", w.Code, w.Body)
	}
	if w := deliverTo(h, "", "", body(900), "X-API-Key", "source-31-token"); w.Code != http.StatusOK {
		t.Errorf("and so may a token: %d %s", w.Code, w.Body)
	}
}

// BenchmarkUnproven is what those cost who have no proof; BenchmarkWebhook is what
// one with a proof costs, the database apart.
func BenchmarkUnproven(b *testing.B) {
	sources := newSources(b, []string{"secret"}, []string{"token"})
	var many []store.Source
	for i := range 50 {
		many = append(many, stored(fmt.Sprint("source-", i)))
	}
	fifty := newSources(b, nil, nil)
	setSources(b, fifty, many...)
	wrong := []string{"X-bitHuman-Signature", webhook.SignLegacy("another", []byte(chat))}
	for _, c := range []struct {
		name    string
		sources *Sources
		headers []string
	}{
		{"no proof", sources, nil},
		{"a wrong token", sources, []string{"X-API-Key", "another"}},
		{"a wrong signature", sources, wrong},
		{"a wrong signature, 50 sources", fifty, wrong},
	} {
		h := newServer(b, options{log: &memoryLog{}, config: Config{Sources: c.sources}})
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if w := post(h, chat, c.headers...); w.Code != http.StatusUnauthorized {
					b.Fatal(w.Code)
				}
			}
		})
	}
}
