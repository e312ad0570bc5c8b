package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rapport/api/forwarded"
	"rapport/api/webhook"
)

// from sets where a request's connection comes from.
func from(r *http.Request, addr string) *http.Request {
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 4711).String()
	return r
}

func TestUnprovenRequestsAreLimited(t *testing.T) {
	t.Parallel()
	const body = `{"event_type":"test"}`
	h := newServer(t, options{
		config:  Config{APIToken: "reads", Limits: Limits{UnprovenRate: 3}},
		secrets: []string{"secret"}, tokens: []string{"token"},
	})
	read := func(addr, key string) *httptest.ResponseRecorder {
		return send(h, from(newRequest(http.MethodGet, "/openapi.json", nil, "Authorization", "Bearer "+key), addr))
	}
	deliver := func(addr, signature string) *httptest.ResponseRecorder {
		return send(h, from(newRequest(http.MethodPost, "/webhook", strings.NewReader(body), "X-bitHuman-Signature", signature), addr))
	}
	right := webhook.SignLegacy("secret", []byte(body))

	for i := range 3 {
		w := read("192.0.2.1", "wrong")
		wantProblem(t, w, http.StatusUnauthorized)
		if got, want := w.Header().Get("RateLimit-Remaining"), fmt.Sprint(2-i); got != want {
			t.Errorf("RateLimit-Remaining: %q, want %q", got, want)
		}
	}
	w := read("192.0.2.1", "wrong")
	wantProblem(t, w, http.StatusTooManyRequests)
	for name, want := range map[string]string{"Retry-After": "60", "RateLimit-Limit": "3", "RateLimit-Remaining": "0", "RateLimit-Reset": "60"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	t.Run("a valid key is let in", func(t *testing.T) {
		if w := read("192.0.2.1", "reads"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("other addresses are not concerned", func(t *testing.T) {
		if w := read("192.0.2.2", "reads"); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("probes are answered", func(t *testing.T) {
		if w := send(h, from(newRequest(http.MethodGet, "/healthz", nil), "192.0.2.1")); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("a proven delivery is never refused", func(t *testing.T) {
		for range 20 {
			if w := deliver("192.0.2.1", right); w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	})
	t.Run("an unproven delivery is", func(t *testing.T) {
		wantProblem(t, deliver("192.0.2.1", "sha256=00"), http.StatusTooManyRequests)
	})
	t.Run("the addresses of an IPv6 network are one", func(t *testing.T) {
		for i := range 3 {
			wantProblem(t, deliver(fmt.Sprintf("2001:db8::%d", i+1), "sha256=00"), http.StatusUnauthorized)
		}
		wantProblem(t, deliver("2001:db8::ffff", "sha256=00"), http.StatusTooManyRequests)
		wantProblem(t, deliver("2001:db8:0:1::1", "sha256=00"), http.StatusUnauthorized)
	})
	t.Run("the metrics tell", func(t *testing.T) {
		lines := strings.Join(metricLines(t, authorized{h, "reads"}, "rapport_limited_total"), "\n")
		if !strings.Contains(lines, `rapport_limited_total{limit="unproven"} 3`) {
			t.Error(lines)
		}
	})
}

func TestWhoFloodsWaitsForTheRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiters(Limits{Hold: time.Second}, 1<<20)
		began := time.Now()
		var crowd sync.WaitGroup
		for range maxHeld {
			crowd.Go(func() { l.holdBack(t.Context()) })
		}
		synctest.Wait()
		l.holdBack(t.Context())
		if waited := time.Since(began); waited != 0 {
			t.Errorf("where too many wait already, one more waits %v", waited)
		}
		crowd.Wait()
		waited := time.Since(began)
		if waited < time.Second || waited > 3*time.Second/2 { // the last of very many
			t.Errorf("they wait %v", waited)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		l.holdBack(gone)
		if time.Since(began) != waited {
			t.Errorf("who has left is waited for: %v", time.Since(began))
		}
	})
}

func TestOfALimitedAddressWhoIsKnownIsLetIn(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{Limits: Limits{UnprovenRate: 2}})
	status := func(headers ...string) int { return get(l, "/openapi.json", headers...).Code }
	exhaust := func() { // as any page does that this machine's browser shows
		for range 4 {
			status("Origin", "https://elsewhere.example")
		}
	}
	if code := status(); code != http.StatusOK {
		t.Fatalf("%d", code)
	}
	exhaust()
	if code := status("Origin", "https://elsewhere.example"); code != http.StatusTooManyRequests {
		t.Fatalf("the address is not limited: %d", code)
	}
	if code := status(); code != http.StatusOK {
		t.Errorf("this machine, which needs no key: %d", code)
	}

	key := l.key(t, "a", readScope)
	l.key(t, "b", readScope)
	becomes(t, l, http.StatusOK, "/openapi.json", bearerOf(key)...)
	becomes(t, l, http.StatusTooManyRequests, "/openapi.json")
	cookie := cookieHeader(cookieIn(t, send(l, from(signinRequest(key), "198.51.100.1"))))
	for name, headers := range map[string][]string{"a key": bearerOf(key), "a cookie": cookie} {
		if code := status(headers...); code != http.StatusOK {
			t.Errorf("%s: %d", name, code)
		}
	}
	l.revoke(t, "a")
	becomes(t, l, http.StatusTooManyRequests, "/openapi.json", bearerOf(key)...)
	if code := status(cookie...); code != http.StatusTooManyRequests {
		t.Errorf("a cookie whose key is revoked: %d", code)
	}
}

// authorized adds a key to every request, from an address of its own.
type authorized struct {
	http.Handler
	key string
}

func (a authorized) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("Authorization", "Bearer "+a.key)
	a.Handler.ServeHTTP(w, from(r, "198.51.100.1"))
}

func TestTheClientBehindAProxyIsLimited(t *testing.T) {
	t.Parallel()
	proxies, err := forwarded.Parse("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	h := newServer(t, options{config: Config{APIToken: "reads", Limits: Limits{UnprovenRate: 1}, TrustedProxies: proxies}})
	read := func(peer, client string) *httptest.ResponseRecorder {
		return send(h, from(newRequest(http.MethodGet, "/openapi.json", nil, "X-Forwarded-For", client, "X-Forwarded-Proto", "https"), peer))
	}
	w := read("10.0.0.1", "1.1.1.1, 203.0.113.1")
	wantProblem(t, w, http.StatusUnauthorized)
	if got := w.Header().Get("Strict-Transport-Security"); got == "" {
		t.Error("no HSTS, though the proxy says that it is HTTPS")
	}
	wantProblem(t, read("10.0.0.2", "2.2.2.2, 203.0.113.1"), http.StatusTooManyRequests)
	wantProblem(t, read("10.0.0.1", "203.0.113.2"), http.StatusUnauthorized)

	t.Run("who is no proxy is not believed", func(t *testing.T) {
		w := read("203.0.113.3", "10.9.9.9")
		wantProblem(t, w, http.StatusUnauthorized)
		if got := w.Header().Get("Strict-Transport-Security"); got != "" {
			t.Errorf("HSTS: %q", got)
		}
		wantProblem(t, read("203.0.113.3", "10.8.8.8"), http.StatusTooManyRequests)
	})
}

func TestKeysAreLimited(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{config: Config{APIToken: "reads", Limits: Limits{KeyRate: 2}}})
	var refused *httptest.ResponseRecorder
	for range 1000 { // within a second, however busy the machine
		if w := get(h, "/openapi.json", "Authorization", "Bearer reads"); w.Code != http.StatusOK {
			refused = w
			break
		}
	}
	if refused == nil {
		t.Fatal("never")
	}
	wantProblem(t, refused, http.StatusTooManyRequests)
	if got := refused.Header().Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: %q", got)
	}

	t.Run("who needs none is not", func(t *testing.T) {
		h := newServer(t, options{config: Config{Limits: Limits{KeyRate: 1}}})
		for range 100 {
			if w := get(h, "/openapi.json"); w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	})
}

func TestARateRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := newRateLimit(10, time.Second, "")
		r := newRequest(http.MethodGet, "/", nil)
		spend := func(key string) bool { return !limit.spend(httptest.NewRecorder(), r, key) }
		passed := 0
		for range 400 { // 40 a second, for 10 seconds
			if limit.isOver("a") == spend("a") {
				t.Fatal("isOver and spend don't agree")
			}
			time.Sleep(25 * time.Millisecond)
		}
		for range 400 {
			if spend("b") {
				passed++
			}
			time.Sleep(25 * time.Millisecond)
		}
		if passed < 70 || passed > 120 {
			t.Errorf("of 400 requests in 10 s, %d passed a limit of 10 a second", passed)
		}
	})
}

func TestACounterIsBounded(t *testing.T) {
	t.Parallel()
	c := new(counter)
	c.Config(0, time.Minute)
	start := time.Unix(0, 0)
	for window := range 3 {
		for i := range 2 * maxCounted {
			_ = c.Increment(fmt.Sprint(i), start.Add(time.Duration(window)*time.Minute))
		}
	}
	if len(c.count) > maxCounted || len(c.before) > maxCounted {
		t.Errorf("%d and %d clients", len(c.count), len(c.before))
	}
	if now, before, _ := c.Get("7", start.Add(2*time.Minute), time.Time{}); now != 1 || before != 1 {
		t.Errorf("%d and %d requests", now, before)
	}
	if now, before, _ := c.Get("7", start.Add(9*time.Minute), time.Time{}); now != 0 || before != 0 {
		t.Errorf("later: %d and %d requests", now, before)
	}
}

func TestReadsAtOnceAreBounded(t *testing.T) {
	t.Parallel()
	s := &server{Config: Config{Metrics: NewMetrics()}, limits: newLimiters(Limits{Reads: 1}, 1)}
	busy, done := make(chan struct{}), make(chan struct{})
	h := s.limitReads(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(busy)
			<-done
		}
	}))
	go get(h, "/slow")
	<-busy
	w := get(h, "/quick")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/webhook"} {
		if w := get(h, path); w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	close(done)
	if w := get(h, "/quick"); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d", w.Code)
	}
}

func TestWhoWaitsTakesNoSeat(t *testing.T) {
	t.Parallel()
	s := &server{Config: Config{Metrics: NewMetrics()}, limits: newLimiters(Limits{Reads: 1}, 1)}
	var h http.Handler
	var others atomic.Int32
	h = s.limitReads(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/waits" {
			return
		}
		err := withoutSeat(r.Context(), func() error {
			others.Store(int32(get(h, "/other").Code))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if w := get(h, "/other"); w.Code != http.StatusServiceUnavailable {
			t.Errorf("it has its seat again, and yet another: %d", w.Code)
		}
	}))
	get(h, "/waits")
	if others.Load() != http.StatusOK {
		t.Errorf("meanwhile: %d", others.Load())
	}
}

func TestCompressedBodiesAreRefused(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{tokens: []string{"token"}})
	for _, encoding := range []string{"gzip", "br", "deflate, gzip", "x"} {
		w := post(h, "\x1f\x8b", "X-API-Key", "token", "Content-Encoding", encoding)
		wantProblem(t, w, http.StatusUnsupportedMediaType)
		if got := w.Header().Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding: %q", got)
		}
	}
	if w := post(h, `{"event_type":"test"}`, "X-API-Key", "token", "Content-Encoding", "Identity"); w.Code != http.StatusOK {
		t.Errorf("identity: %d %s", w.Code, w.Body)
	}
}

func TestLargeBodiesTakeTurns(t *testing.T) {
	t.Parallel()
	const maxBytes = 1 << 20
	s := &server{Config: Config{MaxBodyBytes: maxBytes}, limits: newLimiters(Limits{}, maxBytes)}
	read := func(size int, ctx context.Context, addr string, isProven bool) *problem {
		r := from(newRequest(http.MethodPost, "/webhook", strings.NewReader(strings.Repeat("x", size))).WithContext(ctx), addr)
		r.ContentLength = -1
		body, p := s.readBody(httptest.NewRecorder(), r, maxBytes, isProven)
		if p == nil && len(body) != size {
			t.Errorf("%d bytes of %d", len(body), size)
		}
		return p
	}
	const slow, other = "192.0.2.7", "192.0.2.8"
	left, leave := context.WithCancel(t.Context())
	leave()
	wantRefused := func(name, addr string, isProven bool) {
		t.Helper()
		if p := read(maxReserved+1, left, addr, isProven); p == nil || p.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %v", name, p)
		}
	}
	wantRead := func(name string, size int, addr string, isProven bool) {
		t.Helper()
		if p := read(size, t.Context(), addr, isProven); p != nil {
			t.Errorf("%s: %v", name, p)
		}
	}
	var seats []func()
	sit := func(addr string) {
		leave, ok := s.limits.bodies.take(t.Context(), addr, time.Minute)
		if !ok {
			t.Fatalf("no seat for %s", addr)
		}
		seats = append(seats, leave)
	}

	for range s.limits.bodies.most {
		sit(slow)
	}
	wantRefused("a large body from an address that has its share", slow, false)
	wantRead("a small one", maxReserved-1, slow, false)
	wantRead("a large one from another address", maxBytes, other, false)

	for i := 0; len(seats) < cap(s.limits.bodies.seats); i++ {
		sit(fmt.Sprint("stranger ", i))
	}
	wantRefused("a large body where all seats are taken", other, false)
	wantRead("one that is proven", maxBytes, slow, true)
	seats[0]()
	wantRead("a large body, in its turn", maxBytes, other, false)
	if p := read(maxBytes+1, t.Context(), other, false); p == nil || p.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %v", p)
	}

	for range cap(s.limits.proven) {
		s.limits.proven <- struct{}{}
	}
	wantRefused("more proven ones than there is memory for", other, true)
	for _, leave := range seats[1:] {
		leave()
	}
	if n := len(s.limits.bodies.seats); n != 0 || len(s.limits.bodies.of) != 0 {
		t.Errorf("%d seats were not given back, %d clients are still known", n, len(s.limits.bodies.of))
	}
}

// The database of newServer can't be reached: whatever asked it would be answered
// 503, or would be seen in the log.
func TestUnprovenRequestsAreNoWorkForTheDatabase(t *testing.T) {
	t.Parallel()
	log := &memoryLog{}
	h := newServer(t, options{log: log, config: Config{APIToken: "reads"}, secrets: []string{"secret"}, tokens: []string{"token"}})
	key := "Bearer rpt_" + strings.Repeat("A", 43)
	for _, r := range []*http.Request{
		newRequest(http.MethodGet, "/sessions", nil),
		newRequest(http.MethodGet, "/sessions", nil, "Authorization", "Bearer wrong"),
		newRequest(http.MethodGet, "/sessions?min_position=7&wait=60s", nil, "Authorization", key),
		newRequest(http.MethodGet, "/metrics", nil),
		newRequest(http.MethodPost, "/webhook", strings.NewReader("{}")),
		newRequest(http.MethodPost, "/webhook", strings.NewReader("{}"), "X-API-Key", "wrong"),
		newRequest(http.MethodPost, "/webhook", strings.NewReader("not JSON"), "X-bitHuman-Signature", "sha256=00"),
	} {
		wantProblem(t, send(h, r), http.StatusUnauthorized)
	}
	if n := len(log.events); n != 0 {
		t.Errorf("%d events", n)
	}
}
