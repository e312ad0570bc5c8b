package archive_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"rapport/aggregator/export/archive"
	"rapport/store"
	"rapport/store/storetest"
)

func init() {
	// For the server below. Tests that run beside each other can't set them.
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
}

// s3 is an S3 server, which can be killed, and comes back on the same port with what it
// has kept.
type s3 struct {
	t       testing.TB
	handler http.Handler
	address string

	mu     sync.Mutex
	server *http.Server  // nil while it is down; guarded by mu
	left   int           // requests that change something until it is killed; guarded by mu
	before bool          // the last of them is not done any more; guarded by mu
	onKill func()        // guarded by mu
	died   chan struct{} // closed once it has; guarded by mu

	hold func(*http.Request) // sees each request before it is done; guarded by mu
}

func newS3(t testing.TB) *s3 {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("archive"); err != nil {
		t.Fatal(err)
	}
	s := &s3{t: t, handler: gofakes3.New(backend).Server(), address: "127.0.0.1:0", left: -1}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// url has the client not try again, after seconds: one try costs five of what it may have.
func (s *s3) url() string {
	return fmt.Sprintf("s3://archive?region=us-east-1&endpoint=http://%s&use_path_style=true&rate_limiter_capacity=1", s.address)
}

func (s *s3) start() {
	s.t.Helper()
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.address = listener.Addr().String()
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
}

// kill ends all connections, in the middle of whatever they are.
func (s *s3) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		_ = s.server.Close()
	}
	s.server = nil
}

// killAt has it die with the nth request that changes something: before that is done, or
// before it is answered.
func (s *s3) killAt(n int, before bool, onKill func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.before, s.onKill, s.died = n, before, onKill, make(chan struct{})
}

// comeBack starts it again, if it has died; else it does not die any more.
func (s *s3) comeBack() (hasDied bool) {
	s.mu.Lock()
	hasDied, died := s.left == 0, s.died
	s.left = -1
	s.mu.Unlock()
	if hasDied {
		<-died
		s.start()
	}
	return hasDied
}

func (s *s3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		hold(r)
	}
	isLast, before, onKill := s.count(r)
	if isLast && before {
		s.die(onKill)
	}
	s.handler.ServeHTTP(w, r)
	if isLast {
		s.die(onKill)
	}
}

func (s *s3) count(r *http.Request) (isLast, before bool, onKill func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet || r.Method == http.MethodHead || s.left <= 0 {
		return false, false, nil
	}
	s.left--
	return s.left == 0, s.before, s.onKill
}

func (s *s3) die(onKill func()) {
	if onKill != nil {
		onKill() // before anybody notices
	}
	s.mu.Lock()
	died := s.died
	s.mu.Unlock()
	s.kill()
	close(died)
	panic(http.ErrAbortHandler)
}

func TestAnS3ServerThatIsKilledAndComesBackLosesNothing(t *testing.T) {
	t.Parallel()
	db, server := filled(t, 11, 12), newS3(t)
	f := follower(t, db, server.url())
	f.SetBounds(store.BlockBounds{Events: 10, Bytes: 1 << 20})
	for n := 1; ; n += 7 {
		server.killAt(n, n%2 == 0, nil)
		_, err := f.Step(t.Context())
		if !server.comeBack() {
			break
		}
		if err == nil && n > 1 {
			t.Errorf("killed at %d, and nobody noticed", n)
		}
	}
	archived(t, db, f)

	got := storetest.New(t)
	cut := false
	err := restore(t, got, server.url(), func(done int64) {
		if done > 0 && !cut {
			cut = true
			server.kill()
		}
	})
	if err == nil {
		t.Fatal("the server was killed, and the restore did not notice")
	}
	server.start()
	if err := restore(t, got, server.url(), func(int64) {}); err != nil {
		t.Fatal(err)
	}
	requireSame(t, db, got)
	requireProved(t, got)
}

func TestAProcessThatIsKilledAtAnyRequestLeavesAWholeArchive(t *testing.T) {
	t.Parallel()
	db, server := filled(t, 12, 4), newS3(t)
	archived(t, db, follower(t, db, server.url()))
	for n := 1; n <= 9; n++ {
		fill(t, db, says(t, "agent", fmt.Sprint("killed ", n), "user", "hello", noon))
		if n%3 == 0 {
			erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: fmt.Sprint("killed ", n-2)})
		}
		ctx, kill := context.WithCancel(t.Context())
		server.killAt(n, n%2 == 0, kill)
		_, _ = follower(t, db, server.url()).Step(ctx)
		kill()
		server.comeBack()
		if err := check(t, server.url()); err != nil {
			t.Errorf("killed at request %d: %v", n, err)
		}
		handOver(t, db)
	}
	archived(t, db, follower(t, db, server.url()))
	requireSame(t, db, restored(t, server.url()))
	requireNothingElse(t, server.url())
}

// requireNothingElse wants the bucket to have no block that the archive doesn't name.
func requireNothingElse(t testing.TB, url string) {
	t.Helper()
	b := bucket(t, url)
	objects := b.List(nil)
	var blocks, manifests int
	for {
		object, err := objects.Next(t.Context())
		if err != nil {
			break
		}
		if strings.HasPrefix(object.Key, "events/") {
			blocks++
		}
		if strings.HasPrefix(object.Key, "state/0") {
			manifests++
		}
	}
	m, err := archive.ReadManifest(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(m.Blocks); blocks != want || manifests != 1 {
		t.Errorf("%d blocks and %d manifests, want %d and 1", blocks, manifests, want)
	}
}
