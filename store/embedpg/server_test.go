package embedpg

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)

	s := start(t, Config{DataDir: dir})
	checkRoles(t, s)
	checkSettings(t, s)
	checkSecondRefused(t, dir)
	checkFound(t, s, dir)
	if group, err := syscall.Getpgid(s.proc.os.Pid); err != nil || group == syscall.Getpgrp() {
		t.Errorf("Postgres is in process group %d, where Ctrl-C reaches it too (%v)", group, err)
	}
	execute(t, s.URL(roleOwner), "CREATE TABLE kept AS SELECT 'a text' AS text")
	stop(t, s)
	stop(t, s) // does no harm

	_, err := Running(dir)
	refused(t, err, "no Postgres is running in "+dir)
	missing := filepath.Join(dir, "missing")
	_, err = Running(missing)
	refused(t, err, "no Postgres is running in "+missing+": start rapport serve first")

	reusePID(t, s)
	s = start(t, Config{DataDir: dir})
	if got := query(t, s.URL(roleOwner), "SELECT text FROM kept"); got != "a text" {
		t.Errorf("after a restart the table has %q", got)
	}
}

func checkRoles(t *testing.T, s *Server) {
	t.Helper()
	for _, role := range []string{roleOwner, roleServer, roleReader} {
		if got := query(t, s.URL(role), "SELECT current_user || '@' || current_database()"); got != role+"@rapport" {
			t.Errorf("%s connects as %s", role, got)
		}
	}
	for sql, want := range map[string]string{
		"SELECT pg_get_userbyid(datdba) || ' ' || pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'rapport'": "rapport_owner UTF8",
		"SELECT count(*)::text FROM pg_roles WHERE rolname ~ '^rapport_' AND (rolsuper OR rolcreaterole OR rolcreatedb)":    "0",
		"SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user":                                                  "true",
	} {
		if got := query(t, s.URL(roleSuper), sql); got != want {
			t.Errorf("%s: %s, not %s", sql, got, want)
		}
	}
}

func checkSettings(t *testing.T, s *Server) {
	t.Helper()
	for name, want := range map[string]string{
		"fsync": "on", "synchronous_commit": "on", "jit": "off", "listen_addresses": "", "max_wal_size": "4GB",
		"TimeZone": "UTC", "log_timezone": "UTC", "lc_collate": "C", "checkpoint_timeout": "15min",
	} {
		if got := query(t, s.URL(roleReader), "SELECT coalesce(current_setting('"+name+"', true), "+
			"(SELECT datcollate FROM pg_database WHERE datname = current_database()))"); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}

func checkSecondRefused(t *testing.T, dir string) {
	t.Helper()
	_, err := Start(t.Context(), Config{DataDir: dir})
	refused(t, err, dir, "in use by another rapport", fmt.Sprintf("pid %d", os.Getpid()))
}

func checkFound(t *testing.T, s *Server, dir string) {
	t.Helper()
	urlFor, err := Running(dir)
	must(t, err)
	if got, want := urlFor(roleReader), s.URL(roleReader); got != want {
		t.Errorf("from another process the URL is %s, not %s", got, want)
	}
}

// reusePID makes it look as if Postgres had been killed and its pid were now that
// of another program of the same user.
func reusePID(t *testing.T, s *Server) {
	t.Helper()
	cmd := s.account.command(t.Context(), "/bin/cat")
	stdin, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	content := fmt.Sprintf("%d\n%s\n1\n%d\n%s\n\n1 1\nready   \n", cmd.Process.Pid, s.cluster(), s.endpoint.port, s.endpoint.dir)
	for _, path := range []string{pidPath(s.cluster()), s.endpoint.socket() + ".lock"} {
		must(t, os.WriteFile(path, []byte(content), 0o600))
		must(t, s.account.own(path))
	}
}

// Root runs Postgres as another user, everyone else as themselves. Run by
// root, the tests cover both: here they are run once more, as nobody.
func TestServerOfAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // then TestServer is that
	}
	nobody, err := lookUpAccount("nobody")
	must(t, err)
	dir := dataDir(t)
	must(t, os.Mkdir(dir, 0o700))
	must(t, nobody.own(dir))
	exe := copyOfThisBinary(t, filepath.Dir(dir))

	cmd := nobody.command(t.Context(), exe, "-test.run=^TestServer$", "-test.v")
	cmd.Env = append(cmd.Env, "TMPDIR="+dir, binEnv+"="+os.Getenv(binEnv))
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestServer ") {
		t.Errorf("%v\n%s", err, out)
	}
}

func copyOfThisBinary(t *testing.T, dir string) string {
	t.Helper()
	from, err := os.Executable()
	must(t, err)
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	to := filepath.Join(dir, "embedpg.test")
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, err)
	must(t, out.Close())
	return to
}

func TestOrphan(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	orphan := makeOrphan(t, dir)
	execute(t, endpointOf(t, dir)(roleSuper), "ALTER ROLE rapport_server CONNECTION LIMIT 7")

	// Rapport comes back and finds it as it was.
	s := start(t, Config{DataDir: dir})
	if s.proc.os.Pid != orphan {
		t.Errorf("the orphan %d was not taken over: Postgres is %d", orphan, s.proc.os.Pid)
	}

	// It is no child, and yet watched over.
	run(t, s)
	must(t, s.proc.os.Kill())
	eventually(t, "Postgres healed", func() bool {
		got, err := tryQuery(t.Context(), s.URL(roleSuper), "SELECT rolconnlimit::text FROM pg_roles WHERE rolname = 'rapport_server'")
		return err == nil && got == "7"
	})
	stop(t, s)

	// With other settings it is replaced.
	orphan = makeOrphan(t, dir)
	port := freePort(t)
	s = start(t, Config{DataDir: dir, Listen: net.JoinHostPort("127.0.0.1", port)})
	if s.proc.os.Pid == orphan {
		t.Errorf("the orphan was kept, though the settings changed")
	}
	checkListen(t, s, port)
	stop(t, s)
	checkPortInUse(t, dir)
}

// makeOrphan leaves a Postgres without its Rapport, and returns its pid.
func makeOrphan(t *testing.T, dir string) int {
	t.Helper()
	h := startHelper(t, dir)
	h.awaitReady(t)
	h.kill(t)
	file, err := readPIDFile(clusterDir(dir))
	must(t, err)
	if findPostmaster(clusterDir(dir), file.pid) == nil {
		t.Fatal("Postgres did not outlive its Rapport")
	}
	return file.pid
}

func endpointOf(t *testing.T, dir string) func(string) string {
	t.Helper()
	urlFor, err := Running(dir)
	must(t, err)
	return urlFor
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

func checkListen(t *testing.T, s *Server, port string) {
	t.Helper()
	for _, url := range []string{s.ListenURL(), s.URL(roleReader)} {
		if got := query(t, url, "SELECT current_user::text"); got != roleReader {
			t.Errorf("%s connects as %s", url, got)
		}
	}
	info, err := os.Stat(filepath.Join(s.dir, "reader.password"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the password has mode %v", info.Mode())
	}
	for name, url := range map[string]string{
		"a wrong password": strings.Replace(s.ListenURL(), s.password, "wrong", 1),
		"another role":     s.port.url(roleServer, s.password),
		"the superuser":    s.port.url(roleSuper, ""),
	} {
		if _, err := tryQuery(t.Context(), url, "SELECT current_user::text"); err == nil {
			t.Errorf("%s is let in over TCP", name)
		}
	}
}

func checkPortInUse(t *testing.T, dir string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, err = Start(t.Context(), Config{DataDir: dir, Listen: l.Addr().String()})
	refused(t, err, "already in use")
	if orphan, _ := findOrphan(clusterDir(dir)); orphan != nil {
		t.Error("a failed start leaves Postgres running")
	}
}

func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	// A path that is too long for a socket, with all that needs quoting.
	dir := filepath.Join(dataDir(t), strings.Repeat("long ", 20), `it's, "quoted" \n %41`)
	must(t, os.MkdirAll(dir, 0o755))
	s := start(t, Config{DataDir: dir, Ephemeral: true})
	t.Cleanup(func() { must(t, os.RemoveAll(s.endpoint.dir)) })
	run(t, s)
	if len(s.endpoint.socket()) > 107 || strings.HasPrefix(s.endpoint.dir, dir) {
		t.Errorf("the socket is at %s", s.endpoint.socket())
	}

	// A backend that computes does not notice that its postmaster is gone, and
	// Postgres does not start beside it.
	busy := make(chan error, 1)
	go func() {
		_, err := tryQuery(context.Background(), s.URL(roleServer), "SELECT count(*)::text FROM generate_series(1, 5000000) AS n WHERE n % 7 = 3")
		busy <- err
	}()
	eventually(t, "a busy backend", func() bool {
		return query(t, s.URL(roleSuper), "SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'rapport_server' AND state = 'active'") == "1"
	})
	must(t, s.proc.os.Kill())
	eventually(t, "Postgres healed", func() bool {
		_, err := tryQuery(t.Context(), s.URL(roleReader), "SELECT 'alive'")
		return err == nil
	})
	<-busy
}

func TestEphemeralEndsWithItsStarter(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	h := startHelper(t, dir, ephemeralEnv+"=1")
	h.awaitReady(t)
	h.kill(t)
	eventually(t, "the end of Postgres", func() bool {
		_, err := Running(dir)
		return err != nil
	})
}

func TestKilledInitdb(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	halfMade := func() []string {
		found, err := filepath.Glob(filepath.Join(dir, unfinished+"*", "PG_VERSION"))
		must(t, err)
		return found
	}
	h := startHelper(t, dir, ephemeralEnv+"=1")
	eventually(t, "a half-made cluster", func() bool { return len(halfMade()) > 0 })
	h.kill(t)
	if len(halfMade()) == 0 {
		t.Fatal("initdb was through already")
	}
	s := start(t, Config{DataDir: dir, Ephemeral: true})
	query(t, s.URL(roleReader), "SELECT 'alive'")
	if left := halfMade(); len(left) > 0 {
		t.Errorf("left lying: %s", left)
	}
}

func TestStartRefused(t *testing.T) {
	t.Parallel()
	t.Run("a cluster of another major, with what to do", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		must(t, os.MkdirAll(clusterDir(dir), 0o700))
		must(t, os.WriteFile(filepath.Join(clusterDir(dir), "PG_VERSION"), []byte("13\n"), 0o600))
		_, err := Start(t.Context(), Config{DataDir: dir})
		refused(t, err, clusterDir(dir), "made by Postgres 13", "apt-get install postgresql-13", "pg_dumpall")
	})
	t.Run("a directory that holds something else", func(t *testing.T) {
		t.Parallel()
		dir := dataDir(t)
		must(t, os.MkdirAll(filepath.Join(clusterDir(dir), "photos"), 0o700))
		_, err := Start(t.Context(), Config{DataDir: dir})
		refused(t, err, clusterDir(dir), "move it away")
	})
	t.Run("root's Postgres in a directory that its user can't reach", func(t *testing.T) {
		t.Parallel()
		if os.Geteuid() != 0 {
			return // there is no other user then
		}
		dir := dataDir(t)
		closed := filepath.Join(dir, "closed")
		must(t, os.MkdirAll(closed, 0o755))
		must(t, os.Chmod(closed, 0o700))
		_, err := Start(t.Context(), Config{DataDir: filepath.Join(closed, "data")})
		refused(t, err, "can't enter "+closed+":", "chmod o+x "+closed)
	})
	t.Run("a malformed address", func(t *testing.T) {
		t.Parallel()
		for _, listen := range []string{"5432", "localhost", "localhost:0", "localhost:pg", "localhost:65536"} {
			_, err := Start(t.Context(), Config{DataDir: dataDir(t), Listen: listen})
			refused(t, err, "the address for Postgres")
		}
	})
}

func TestDataDirOfMktemp(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	must(t, os.Mkdir(dir, 0o700))
	s := start(t, Config{DataDir: dir, Ephemeral: true})
	query(t, s.URL(roleReader), "SELECT 'alive'")

	// A frozen Postgres is stopped in time too.
	must(t, s.proc.os.Signal(syscall.SIGSTOP))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	must(t, s.Stop(ctx))
	if s := findPostmaster(s.cluster(), s.proc.os.Pid); s != nil {
		t.Error("Postgres still runs")
	}
}

// Not parallel: it changes the environment.
func TestNoBinaries(t *testing.T) {
	empty := t.TempDir()
	t.Setenv(binEnv, empty)
	_, err := Start(t.Context(), Config{DataDir: dataDir(t)})
	refused(t, err, binEnv+"="+empty)

	t.Setenv(binEnv, "")
	refused(t, noBinaries([]error{exec.ErrDot}), "apt-get install postgresql", binEnv, "RAPPORT_DATABASE_URL")
}
