package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rapport"
	"rapport/api/webhook"
)

// server receives deliveries as Rapport does, and remembers them.
type server struct {
	*httptest.Server
	verifier *webhook.Verifier

	mu       sync.Mutex
	received map[rapport.Fingerprint]int
	failures []error
}

func newServer(t *testing.T, secrets, tokens []string) *server {
	t.Helper()
	verifier, err := webhook.NewVerifier(secrets, tokens)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{verifier: verifier, received: map[rapport.Fingerprint]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.receive))
	t.Cleanup(s.Close)
	return s
}

func (s *server) receive(w http.ResponseWriter, r *http.Request) {
	fingerprint, err := s.check(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.failures = append(s.failures, err)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	s.received[fingerprint]++
	if s.received[fingerprint] > 1 {
		_, _ = io.WriteString(w, `{"status":"success","position":1,"duplicate":true}`)
		return
	}
	_, _ = io.WriteString(w, `{"status":"success","position":1}`)
}

func (s *server) check(r *http.Request) (rapport.Fingerprint, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/webhook" || r.Header.Get("Content-Type") != "application/json" {
		return rapport.Fingerprint{}, fmt.Errorf("%s %s of %s", r.Method, r.URL, r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return rapport.Fingerprint{}, err
	}
	if err := s.verifier.Verify(r.Header, body, time.Now()); err != nil {
		return rapport.Fingerprint{}, err
	}
	e, err := webhook.Decode(body, time.Now(), time.Time{})
	return e.Fingerprint, err
}

// answering is a server with one answer to everything.
func answering(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// fast are options that send a small day as fast as possible.
func fast(link string) Options {
	seed := uint64(1)
	return Options{URL: link, Sessions: 30, Concurrency: 4, Seed: &seed}
}

// run is Run, with what it writes.
func run(ctx context.Context, o Options) (stdout, stderr string, err error) {
	var out, errs strings.Builder
	err = Run(ctx, o, &out, &errs)
	return out.String(), errs.String(), err
}

func requireContains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%q has no %q", text, want)
		}
	}
}

func TestAServerReceivesEverythingOnce(t *testing.T) {
	t.Parallel()
	for _, has := range []struct {
		promise         string
		secrets, tokens []string
		proof           proof
	}{
		{"without any proof", nil, nil, proof{}},
		{"proven with the secret", []string{"old", "s1"}, nil, proof{secret: "s1"}},
		{"proven with the token", nil, []string{"t1", "old"}, proof{token: "t1"}},
		{"proven with both", []string{"s1"}, []string{"t1"}, proof{"s1", "t1"}},
		{"to a server that asks for nothing, proven all the same", nil, nil, proof{"s1", "t1"}},
	} {
		t.Run(has.promise, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, has.secrets, has.tokens)
			o := fast(s.URL)
			o.WebhookSecret, o.WebhookToken = has.proof.secret, has.proof.token
			stdout, stderr, err := run(t.Context(), o)
			if err != nil || len(s.failures) > 0 {
				t.Fatal(err, s.failures)
			}
			n := len(s.received)
			for _, times := range s.received {
				if times != 1 {
					t.Errorf("a delivery came %d times", times)
				}
			}
			requireContains(t, stdout,
				fmt.Sprintf("sent %d of %d deliveries", n, n), fmt.Sprintf(": %d kept, 0 duplicates, 0 failed\n", n),
				"curl '"+s.URL+"/sessions?limit=5'\n")
			requireContains(t, stderr, fmt.Sprintf("seed 1: 30 sessions, %d deliveries to %s\n", n, s.URL))
		})
	}
}

func TestEachGenerationProvesItselfInItsWay(t *testing.T) {
	t.Parallel()
	both := proof{"s1", "t1"}
	for generation, want := range map[generation]string{
		legacy:  "X-Bithuman-Signature",
		current: "Authorization",
		account: "X-Bithuman-Delivery X-Bithuman-Event X-Bithuman-Signature X-Bithuman-Timestamp",
	} {
		t.Run(string(generation), func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			both.set(h, &delivery{generation: generation, event: "agent.ready", id: "evt_1", body: []byte("{}")}, noon)
			if len(h) != len(strings.Fields(want)) {
				t.Errorf("%v, want %s", h, want)
			}
			for _, name := range strings.Fields(want) {
				if h.Get(name) == "" {
					t.Errorf("no %s", name)
				}
			}
		})
	}
}

func TestWhatTheServerHasAlreadyIsCountedApart(t *testing.T) {
	t.Parallel()
	link := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","position":1,"duplicate":true}`)
	})
	stdout, _, err := run(t.Context(), fast(link))
	if err != nil {
		t.Fatal(err)
	}
	requireContains(t, stdout, ": 0 kept, ", " duplicates, 0 failed")
}

func TestAFailureIsToldInClearWords(t *testing.T) {
	t.Parallel()
	for _, bad := range []struct {
		promise string
		proof   proof
		status  int
		body    string
		want    string
	}{
		{"a proof is missing", proof{}, 401, `{"status":401,"detail":"no proof"}`, "give --webhook-secret or --webhook-token"},
		{"the secret is wrong", proof{secret: "x"}, 401, `{"status":401,"detail":"no match"}`, "(no match): --webhook-secret is not the server's"},
		{"the token is wrong", proof{token: "x"}, 401, ``, "--webhook-token is not the server's"},
		{"one of both is wrong", proof{"x", "y"}, 401, ``, "--webhook-secret and --webhook-token must both be"},
		{"the server is overloaded", proof{}, 503, `{"status":503,"detail":"too much"}`, "(too much): see its log, or try a lower --rate"},
		{"the server fails", proof{}, 500, `{"status":500,"title":"Internal Server Error"}`, "the server answers 500 Internal Server Error (Internal"},
		{"a delivery is no event to it", proof{}, 422, `{"detail":"names no type"}`, "422 Unprocessable Entity (names no type)"},
		{"another program answers", proof{}, 404, "no such page", "is no Rapport: give the server's address with --url"},
		{"another program is glad", proof{}, 200, "<html>", "is no Rapport"},
		{"another program has a status too", proof{}, 200, `{"status":"ok"}`, "is no Rapport"},
		{"the server is elsewhere", proof{}, 308, "", "redirects to https://elsewhere.example/webhook"},
	} {
		t.Run(bad.promise, func(t *testing.T) {
			t.Parallel()
			link := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				if bad.status == 308 {
					w.Header().Set("Location", "https://elsewhere.example/webhook")
				}
				w.WriteHeader(bad.status)
				_, _ = io.WriteString(w, bad.body)
			})
			o := fast(link)
			o.WebhookSecret, o.WebhookToken = bad.proof.secret, bad.proof.token
			stdout, _, err := run(t.Context(), o)
			if err == nil {
				t.Fatal("no error")
			}
			requireContains(t, err.Error(), bad.want)
			requireContains(t, stdout, "sent 20 of ", ": 0 kept, 0 duplicates, 20 failed\n")
			if strings.Contains(stdout, "curl") {
				t.Errorf("there is nothing to look at, but it says %q", stdout)
			}
		})
	}
}

func TestAServerThatCannotBeReachedIsToldInClearWords(t *testing.T) {
	t.Parallel()
	t.Run("nothing listens", func(t *testing.T) {
		t.Parallel()
		s := httptest.NewServer(nil)
		s.Close()
		_, _, err := run(t.Context(), fast(s.URL))
		if err == nil {
			t.Fatal("no error")
		}
		requireContains(t, err.Error(), "gave up after 20 failures in a row: nothing listens on "+s.URL+": start it with `rapport serve`")
	})
	for _, bad := range []struct {
		promise string
		err     error
		want    string
	}{
		{"an unknown host", &net.DNSError{Name: "rapport.invalid", IsNotFound: true}, "there is no host rapport.invalid"},
		{"no answer in time", os.ErrDeadlineExceeded, "http://x gave no answer within 10s"},
		{"anything else", io.ErrUnexpectedEOF, "http://x gave no answer: "},
	} {
		t.Run(bad.promise, func(t *testing.T) {
			t.Parallel()
			err := unreachable("http://x", &url.Error{Op: "Post", URL: "http://x/webhook", Err: bad.err})
			requireContains(t, err.Error(), bad.want)
		})
	}
}

func TestFailuresApartDoNotStopTheRest(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	n := 0
	link := answering(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n%2 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, `{"status":"success"}`)
	})
	stdout, _, err := run(t.Context(), fast(link))
	if err == nil {
		t.Fatal("no error")
	}
	requireContains(t, err.Error(), fmt.Sprintf("%d of %d deliveries failed, the first because the server answers 500", n/2, n))
	requireContains(t, stdout, fmt.Sprintf("sent %d of %d ", n, n), "look at them: curl")
}

func TestAnInterruptEndsItWithTheSummarySoFar(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	var mu sync.Mutex
	n := 0
	link := answering(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		tenth := n == 10
		mu.Unlock()
		if tenth {
			interrupt()
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client is gone
			<-r.Context().Done()               // no answer ever comes
		}
		_, _ = io.WriteString(w, `{"status":"success"}`)
	})
	o := fast(link)
	o.Concurrency = 1
	stdout, _, err := run(ctx, o)
	if err == nil {
		t.Fatal("no error")
	}
	requireContains(t, err.Error(), "interrupted: ", " were not sent")
	requireContains(t, stdout, "sent 9 of ", ": 9 kept, 0 duplicates, 0 failed\n")
}

func TestTheRateIsKept(t *testing.T) {
	t.Parallel()
	for _, pace := range []struct {
		rate       float64
		deliveries int
		want       time.Duration
	}{
		{10, 101, 10 * time.Second},
		{0.5, 3, 4 * time.Second},
		{200, 1010, 5 * time.Second},
		{0, 1000, 0},
	} {
		t.Run(fmt.Sprint(pace.rate), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				queue := make(chan *delivery)
				go func() {
					feed(t.Context(), newLimiter(pace.rate), make([]delivery, pace.deliveries), queue)
					close(queue)
				}()
				start, n := time.Now(), 0
				for range queue {
					n++
				}
				if took := time.Since(start).Round(time.Millisecond); n != pace.deliveries || took != pace.want {
					t.Errorf("%d deliveries in %v, want %d in %v", n, took, pace.deliveries, pace.want)
				}
			})
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Options){
		"--url 127.0.0.1:8080 can't be read": func(o *Options) { o.URL = "127.0.0.1:8080" },
		"--url ftp://x can't be read":        func(o *Options) { o.URL = "ftp://x" },
		"--url  can't be read":               func(o *Options) { o.URL = "" },
		"--sessions must be 1 to 50000":      func(o *Options) { o.Sessions = 0 },
		"--sessions must be 1 to":            func(o *Options) { o.Sessions = 50_001 },
		"--rate must be":                     func(o *Options) { o.Rate = -1 },
		"--concurrency must be":              func(o *Options) { o.Concurrency = 0 },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			o := fast("http://127.0.0.1:8080")
			change(&o)
			_, _, err := run(t.Context(), o)
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTheNextLookIsACommandThatWorks(t *testing.T) {
	t.Parallel()
	for link, want := range map[string]string{
		"http://127.0.0.1:8080/":       "curl 'http://127.0.0.1:8080/sessions?limit=5'",
		"http://localhost:8080":        "curl 'http://localhost:8080/sessions?limit=5'",
		"http://[::1]:8080":            "curl 'http://[::1]:8080/sessions?limit=5'",
		"https://rapport.example/here": `curl -H "Authorization: Bearer $RAPPORT_API_TOKEN" 'https://rapport.example/here/sessions?limit=5'`,
	} {
		t.Run(link, func(t *testing.T) {
			t.Parallel()
			if got := (&Options{URL: link}).nextLook(); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

// deaf is a writer whose reader has gone.
type deaf struct{}

func (deaf) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }

func TestASummaryThatNobodyReadsIsAnError(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil, nil)
	if err := Run(t.Context(), fast(s.URL), deaf{}, deaf{}); err == nil || err.Error() != "nobody reads" {
		t.Errorf("%v", err)
	}
}
