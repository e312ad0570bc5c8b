package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"rapport/store/storetest"
)

// asRapport makes the test binary be the program: the tests start it as a user does.
const asRapport = "BE_RAPPORT_IN_TESTS"

func TestMain(m *testing.M) {
	if os.Getenv(asRapport) != "" {
		main()
		return
	}
	storetest.Main(m)
}

// command is a rapport process with the given arguments and, as NAME=value,
// environment; it sees no other RAPPORT_ variable.
func command(args []string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "RAPPORT_") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, asRapport+"=1")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// runRapport runs a command to its end, and returns what it printed and its exit code. The
// machine's own data directory is none of its business, unless args or env name one.
func runRapport(t *testing.T, args []string, env ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	cmd := command(args, append([]string{"RAPPORT_DATA_DIR=" + filepath.Join(t.TempDir(), "data")}, env...)...)
	cmd.Stdout, cmd.Stderr = &out, &err
	if e := cmd.Run(); e != nil && cmd.ProcessState == nil {
		t.Fatal(e)
	}
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// process is a running `rapport serve`.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	base string // http://127.0.0.1:port

	mu   sync.Mutex
	log  strings.Builder // guarded by mu
	done chan struct{}   // closed when it has ended and its log is whole
}

var listening = regexp.MustCompile(`sessions="?GET (https?://[^/]+)/sessions`)

// serve starts `rapport serve` on a port of its own, and returns when it is
// ready. It is killed at the end of the test, if it has not ended before.
func serve(t *testing.T, args []string, env ...string) *process {
	t.Helper()
	if !slices.Contains(args, "--data-dir") {
		args = append(args, "--data-dir", dataDir(t)) // for the spool
	}
	if !slices.Contains(args, "--commit-deadline") {
		args = append(args, "--commit-deadline", "30s") // a busy machine is not a frozen Postgres
	}
	return start(t, command(append([]string{"serve", "--listen", "127.0.0.1:0"}, args...), env...))
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, done: make(chan struct{})}
	ready := make(chan string, 1)
	go p.readLog(stderr, ready)
	t.Cleanup(func() { p.kill() })
	select {
	case p.base = <-ready:
	case <-p.done:
		t.Fatalf("rapport serve ended at once:\n%s", p.output())
	case <-time.After(time.Minute):
		t.Fatalf("rapport serve is not ready:\n%s", p.output())
	}
	return p
}

func (p *process) readLog(stderr io.Reader, ready chan<- string) {
	defer close(p.done)
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		p.mu.Lock()
		p.log.WriteString(lines.Text() + "\n")
		p.mu.Unlock()
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			ready <- found[1]
		}
	}
	_ = p.cmd.Wait()
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// terminate sends SIGTERM, and waits for the end: 10 s at most are promised.
func (p *process) terminate() {
	p.t.Helper()
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("rapport serve did not end:\n%s", p.output())
	}
	if took := time.Since(began); took > 10*time.Second {
		p.t.Errorf("SIGTERM took %v to end it", took)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM:\n%s", code, p.output())
	}
}

// kill is what an out-of-memory killer does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// answer is what POST /webhook answers.
type answer struct {
	Code      int `json:"-"`
	Status    any // success, or the number of a problem
	Position  int64
	Duplicate bool
	Spooled   bool
	Detail    string
}

// post delivers a body, with headers as name, value pairs.
func (p *process) post(body string, headers ...string) answer {
	p.t.Helper()
	got, err := p.tryPost(body, headers...)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

func (p *process) tryPost(body string, headers ...string) (answer, error) {
	return p.tryPostTo("/webhook", body, headers...)
}

func (p *process) tryPostTo(path, body string, headers ...string) (answer, error) {
	request, err := http.NewRequest(http.MethodPost, p.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	got := answer{Code: response.StatusCode}
	err = json.NewDecoder(response.Body).Decode(&got)
	return got, err
}

var client = &http.Client{Timeout: 2 * time.Minute}

// get reads a path into a value, and returns the status.
func (p *process) get(path string, into any, headers ...string) int {
	p.t.Helper()
	request, err := http.NewRequest(http.MethodGet, p.base+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		p.t.Fatalf("GET %s: %v", path, err)
	}
	return response.StatusCode
}

// sessionPage is of the answer of GET /sessions what the tests look at.
type sessionPage struct {
	Data []struct {
		SessionID    string `json:"session_id"`
		EventCount   int64  `json:"event_count"`
		MessageCount int64  `json:"message_count"`
		LastPosition int64  `json:"last_position"`
	}
}

// dataDir is a directory that Postgres's user can reach, as mktemp -d makes it.
func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rapport-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// chat is a delivery of a user's message.
func chat(session, text string, at float64) string {
	return fmt.Sprintf(`{"agent_id":"a","event_type":"chat.push","data":{"role":"user","message":%q,"session_id":%q,`+
		`"timestamp":%f},"timestamp":%f}`, text, session, at, at)
}

// postgresOf is the private Postgres's process id, 0 if there is none.
func postgresOf(dir string) int {
	text, err := os.ReadFile(dir + "/postgres/postmaster.pid")
	if err != nil {
		return 0
	}
	var pid int
	_, _ = fmt.Sscan(string(text), &pid)
	if pid > 0 && syscall.Kill(pid, 0) == nil {
		return pid
	}
	return 0
}

// eventually polls for what another process brings about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}
