package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/storetest"
)

// wire is a TCP way to the tests' Postgres that can be cut.
type wire struct {
	address string
	socket  string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
}

func newWire(t *testing.T, link string) *wire {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{
		address: "127.0.0.1:0", conns: make(map[net.Conn]bool),
		socket: u.Query().Get("host") + "/.s.PGSQL." + u.Query().Get("port"),
	}
	w.mend(t)
	t.Cleanup(w.cut)
	return w
}

// mend lets connections through again, at the same address.
func (w *wire) mend(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.listener, w.address = listener, listener.Addr().String()
	w.mu.Unlock()
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go w.relay(listener, from)
		}
	}()
}

func (w *wire) relay(listener net.Listener, from net.Conn) {
	to, err := net.Dial("unix", w.socket)
	if err != nil {
		_ = from.Close()
		return
	}
	w.mu.Lock()
	if w.listener != listener { // cut in the meantime
		w.mu.Unlock()
		_, _ = from.Close(), to.Close()
		return
	}
	w.conns[from], w.conns[to] = true, true
	w.mu.Unlock()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_, _ = pair[0].Close(), pair[1].Close()
		})
	}
	both.Wait()
}

// cut ends all connections, and lets no new ones through.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listener != nil {
		_ = w.listener.Close()
		w.listener = nil
	}
	for conn := range w.conns {
		_ = conn.Close()
	}
	clear(w.conns)
}

// url is that of a role, by this way.
func (w *wire) url(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s@%s%s?sslmode=disable", u.User.Username(), w.address, u.Path)
}

func TestDeliveriesAreKeptWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	way := newWire(t, db.URL("rapport_server"))
	env := []string{"RAPPORT_DATABASE_URL=" + way.url(t, db.URL("rapport_server"))}
	dir := dataDir(t)
	kept := 0
	deliver := func(p *process, spooled bool) {
		t.Helper()
		kept++
		if got := p.post(chat("s", fmt.Sprint("message ", kept), 1790607000+float64(kept))); got.Code != 200 || got.Spooled != spooled {
			t.Errorf("delivery %d: %+v", kept, got)
		}
	}

	p := serve(t, []string{"--data-dir", dir}, env...)
	deliver(p, false)
	way.cut()
	for range 3 {
		deliver(p, true)
	}
	var ready struct {
		Status string
		Spool  struct{ Records int }
	}
	if code := p.get("/readyz", &ready); code != 200 || ready.Spool.Records != 3 {
		t.Errorf("readiness: %d %+v", code, ready)
	}
	p.kill()

	p = serve(t, []string{"--data-dir", dir}, env...)
	deliver(p, true)
	p.terminate()
	p = serve(t, []string{"--data-dir", dir}, env...)
	deliver(p, true)

	way.mend(t)
	eventually(t, "all of them are in their session", func() bool {
		var page sessionPage
		code := p.get("/sessions", &page)
		return code == 200 && len(page.Data) == 1 && page.Data[0].MessageCount == int64(kept)
	})
	eventually(t, "the circuit closes", func() bool { return !p.post(chat("s", "message 1", 1790607001)).Spooled })
	p.terminate()
	if positions := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], "SELECT position FROM events ORDER BY 1"); len(positions) != kept {
		t.Errorf("the log has %d events, want %d", len(positions), kept)
	}
}

func TestAServerStartsOnADatabaseThatIsReadOnly(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	dir, env := dataDir(t), "RAPPORT_DATABASE_URL="+db.URL("rapport_server")
	serve(t, []string{"--data-dir", dir}, env).terminate()
	readOnly := func(is string) {
		t.Helper()
		db.Exec(t, "postgres", "DO $$ BEGIN EXECUTE format('ALTER ROLE rapport_server IN DATABASE %I SET default_transaction_read_only = "+is+"', current_database()); END $$")
	}
	readOnly("on")
	p := serve(t, []string{"--data-dir", dir}, env)
	if got := p.post(roomJoin); !got.Spooled {
		t.Errorf("got %+v", got)
	}
	readOnly("off")
	eventually(t, "it is in the log", func() bool { return p.post(roomJoin).Position == 1 })
}

func TestWithoutASpoolTheSenderIsTold(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	way := newWire(t, db.URL("rapport_server"))
	p := serve(t, []string{"--no-spool", "--commit-deadline", "1s"}, "RAPPORT_DATABASE_URL="+way.url(t, db.URL("rapport_server")))
	if got := p.post(roomJoin); got.Code != 200 {
		t.Errorf("got %+v", got)
	}
	way.cut()
	if got := p.post(chatPush); got.Code != 503 {
		t.Errorf("got %+v", got)
	}
}

func TestServersCanShareADataDirectory(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	way := newWire(t, db.URL("rapport_server"))
	env := "RAPPORT_DATABASE_URL=" + way.url(t, db.URL("rapport_server"))
	dir := dataDir(t)
	a, b := serve(t, []string{"--data-dir", dir}, env), serve(t, []string{"--data-dir", dir}, env)
	way.cut()
	for i, p := range []*process{a, b} {
		if got := p.post(chat("s", fmt.Sprint(i), 1790607000)); !got.Spooled {
			t.Errorf("server %d: %+v", i, got)
		}
		p.kill()
	}
	way.mend(t)
	p := serve(t, []string{"--data-dir", dir}, env)
	eventually(t, "one server drains what both have left", func() bool {
		var page sessionPage
		p.get("/sessions", &page)
		return len(page.Data) == 1 && page.Data[0].MessageCount == 2
	})
}

func TestAPrivatePostgresMayComeLate(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	p := serve(t, []string{"--data-dir", dir})
	if got := p.post(roomJoin); got.Position != 1 {
		t.Fatalf("got %+v", got)
	}
	p.terminate()
	missing := dir + "/postgres/global"
	if err := os.Rename(missing, missing+".away"); err != nil {
		t.Fatal(err)
	}
	p = serve(t, []string{"--data-dir", dir})
	if got := p.post(chatPush); !got.Spooled {
		t.Errorf("got %+v", got)
	}
	if err := os.Rename(missing+".away", missing); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both deliveries are in the session", func() bool {
		var page sessionPage
		p.get("/sessions", &page)
		return len(page.Data) == 1 && page.Data[0].EventCount == 2
	})
	p.terminate()
}

func TestAShutdownGivesNotice(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	p := serve(t, []string{"--shutdown-delay", "2s"}, "RAPPORT_DATABASE_URL="+db.URL("rapport_server"))
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var ready struct{ Status string }
	eventually(t, "readiness says so", func() bool { return p.get("/readyz", &ready) == 503 })
	if got := p.post(roomJoin); got.Code != 200 || ready.Status != "draining" {
		t.Errorf("meanwhile: %+v, %+v", got, ready)
	}
	<-p.done
	if took := time.Since(began); took < 2*time.Second || !strings.Contains(p.output(), "stopped") {
		t.Errorf("it ended after %v:\n%s", took, p.output())
	}
}

func TestVerifyCountsTheSpool(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	way := newWire(t, db.URL("rapport_server"))
	dir, env := dataDir(t), "RAPPORT_DATABASE_URL="+way.url(t, db.URL("rapport_server"))
	p := serve(t, []string{"--data-dir", dir}, env)
	p.post(roomJoin)
	p.folded("1")
	way.cut()
	for _, body := range []string{chatPush, "{", chatPush} {
		p.post(body)
	}
	p.kill()
	way.mend(t)
	verify := func() string {
		t.Helper()
		out, stderr, code := runRapport(t, []string{"verify", "--data-dir", dir}, env)
		if code != 0 {
			t.Errorf("exit code %d: %s%s", code, out, stderr)
		}
		return out
	}
	if out := verify(); !regexp.MustCompile(`waiting in the spool +3\b`).MatchString(out) {
		t.Errorf("3 deliveries wait in the spool:\n%s", out)
	}
	p = serve(t, []string{"--data-dir", dir}, env)
	p.folded("2")
	eventually(t, "the spool is drained", func() bool {
		var ready struct{ Spool struct{ Records int } }
		return p.get("/readyz", &ready) == 200 && ready.Spool.Records == 0
	})
	if out := verify(); !regexp.MustCompile(`received +4\b`).MatchString(out) {
		t.Errorf("4 deliveries were received:\n%s", out)
	}
	p.terminate()
	db.Exec(t, "rapport_owner", "UPDATE spools SET drained_to = 0")
	if out, _, code := runRapport(t, []string{"verify", "--data-dir", dir}, env); code != 0 {
		t.Errorf("a spool that is empty lacks nothing: %d\n%s", code, out)
	}
}
