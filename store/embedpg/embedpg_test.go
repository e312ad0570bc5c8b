package embedpg

import (
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBinariesChosen(t *testing.T) {
	t.Parallel()
	found := []binaries{{"a", 15}, {"b", 17}, {"c", 17}, {"d", 14}}
	for major, want := range map[int]string{0: "b", 14: "d", 15: "a", 17: "b"} {
		bin, err := choose(found, major, "/data/postgres")
		if err != nil || bin.dir != want {
			t.Errorf("for a cluster of %d: %v, %v", major, bin, err)
		}
	}
	_, err := choose(found, 16, "/data/postgres")
	refused(t, err, "/data/postgres was made by Postgres 16, and here is only 14, 15, 17")
}

func TestPrivateDirectory(t *testing.T) {
	t.Parallel()
	self := account{name: "self", uid: os.Geteuid(), gid: os.Getegid()}
	dir := t.TempDir()
	private, public, link := filepath.Join(dir, "private"), filepath.Join(dir, "public"), filepath.Join(dir, "link")
	must(t, os.Mkdir(public, 0o700))
	must(t, os.Chmod(public, 0o755))
	must(t, os.Symlink(private, link))

	t.Run("is made, and is recognised later", func(t *testing.T) {
		must(t, makePrivate(private, self))
		must(t, makePrivate(private, self))
	})
	t.Run("is not what others can enter", func(t *testing.T) {
		refused(t, makePrivate(public, self), public)
	})
	t.Run("is no link", func(t *testing.T) {
		refused(t, makePrivate(link, self), link)
	})
	t.Run("is not another user's", func(t *testing.T) {
		if os.Geteuid() == 0 {
			must(t, os.Chown(private, 1, 1))
			refused(t, makePrivate(private, account{name: "two", uid: 2, gid: 2, other: true}), private)
		}
	})
}

func TestURLs(t *testing.T) {
	t.Parallel()
	e := endpoint{dir: "/data/a b&c%?+", port: 5432}
	for got, want := range map[string]string{
		e.url(roleReader): "postgres://rapport_reader@/rapport?host=/data/a%20b%26c%25%3F%2B&port=5432",
		e.url(roleSuper):  "postgres://postgres@/postgres?host=/data/a%20b%26c%25%3F%2B&port=5432",
		tcpPort{host: "", number: 6000}.url("r", "p"):           "postgres://r:p@localhost:6000/rapport?sslmode=disable",
		tcpPort{host: "::", number: 6000}.url("r", "p"):         "postgres://r:p@localhost:6000/rapport?sslmode=disable",
		tcpPort{host: "db.example", number: 6000}.url("r", "p"): "postgres://r:p@db.example:6000/rapport?sslmode=disable",
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

func TestSharedBuffers(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]int64{0: 128, 512: 128, 4096: 512, 1 << 20: 1024} {
		if got := sharedBuffersMB(memory); got != want {
			t.Errorf("of %d MB, %d", memory, got)
		}
	}
	if got := memTotalMB("MemFree: 1 kB\nMemTotal:       16384000 kB\n"); got != 16000 {
		t.Errorf("MemTotal is %d MB", got)
	}
}

func TestMemoryLimitOfControlGroup(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "slice/service"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "slice/memory.max"), []byte("1073741824\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(root, "slice/service/memory.max"), []byte("max\n"), 0o600))
	for groups, want := range map[string]int64{
		"0::/slice/service\n": 1024, // the limit of a group above counts
		"0::/\n":              math.MaxInt64,
		"1:memory:/other\n":   math.MaxInt64,
	} {
		if got := groupLimitMB(root, groups); got != want {
			t.Errorf("%q: %d MB, not %d", groups, got, want)
		}
	}
}

func TestOldLogsAreRemoved(t *testing.T) {
	t.Parallel()
	s := &Server{dir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	logs := filepath.Join(s.cluster(), "log")
	must(t, os.MkdirAll(logs, 0o700))
	for _, hour := range "abcdefghijklmno" {
		must(t, os.WriteFile(filepath.Join(logs, "postgresql-2026-01-01_"+string(hour)+".log"), nil, 0o600))
	}
	s.pruneLogs()
	left := s.logs()
	if len(left) != keptLogs || filepath.Base(left[0]) != "postgresql-2026-01-01_f.log" {
		t.Errorf("left are %s", left)
	}
}

func TestOutputInOneLine(t *testing.T) {
	t.Parallel()
	for output, want := range map[string]string{
		"2026-01-01 00:00:00.000 UTC [7] LOG:  one\n\tmore\nplain\n":            "LOG: one; more; plain",
		"x UTC [7] LOG:  starting\nx UTC [7] FATAL:  no memory\nx [7] LOG: end": "FATAL: no memory",
		"": "",
	} {
		if got := oneLine(output); got != want {
			t.Errorf("%q: %q, not %q", output, got, want)
		}
	}
}

func TestPIDFileBeingWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	must(t, os.WriteFile(pidPath(dir), []byte("42\n/data\n1\n"), 0o600))
	file, err := readPIDFile(dir)
	if err != nil || file != (pidFile{pid: 42}) {
		t.Errorf("%+v, %v", file, err)
	}
}

// Not parallel: it changes the environment.
func TestDefaultDataDir(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/home/someone/data")
	want := "/home/someone/data/rapport"
	if os.Geteuid() == 0 {
		want = "/var/lib/rapport"
	}
	if got := DefaultDataDir(); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func TestADataDirThatCannotBeMadeIsAClearError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(file, "data")
	if _, err := makeDataDir(dir); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("got %v, want what can't be made, and --data-dir", err)
	}
}
