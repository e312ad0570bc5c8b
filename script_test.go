package rapport_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/internal/reference"
)

// A script tells in testdata/*.txt what sessions some events give:
//
//	case a session has a name
//	set quick_answer=5s
//	load
//	  10:00:00  join  room=lobby participants=2
//	  +1.5s     user  "Hello"  user=u-7
//	expect 10:45:00
//	  started_at=10:00:00 event_count=2 end_reason=idle
//
// An event has a clock time or a time after the line above, a kind (join,
// user, agent, end, error, any other role as role:NAME, any other type by its
// name), and details: a text, agent= and session= (a and s if not named),
// user=, room=, participants=, reason=, rating=, healed= (where it was read),
// print= (the first byte of its fingerprint, in hex). A line that comes again is
// a duplicate.
//
// expect has a line for each session of what was loaded so far, oldest first,
// with the fields that matter, at a reader's now (midnight if not named). Both
// load and expect may come several times.
type script struct {
	name     string
	settings rapport.Settings
	loading  bool      // an indented line is an event, else an expected session
	last     time.Time // of the event above
	head     int64     // the last position
	events   []rapport.Event
	expects  []expectation
}

type expectation struct {
	line   int
	loaded int // how many of the script's events
	now    time.Time
	rows   [][]word
}

// word is one token of a line: a value or name=value.
type word struct{ name, value string }

var day = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		scripts, err := parseScripts(string(text))
		if err != nil {
			t.Fatalf("%s:%v", file, err)
		}
		for _, s := range scripts {
			t.Run(filepath.Base(file)+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				if err := s.run(); err != nil {
					t.Errorf("%s:%v", file, err)
				}
			})
		}
	}
}

func (s *script) run() error {
	for _, e := range s.expects {
		events := s.events[:e.loaded]
		if err := e.match(reference.Sessions(events, s.settings, e.now)); err != nil {
			return fmt.Errorf("%d: the reference: %w", e.line, err)
		}
		for _, a := range arrivals(rapport.NewFold(s.settings), events, e.now) {
			if err := e.match(a.rows); err != nil {
				return fmt.Errorf("%d: events %s: %w", e.line, a.name, err)
			}
		}
	}
	return nil
}

// match compares the fields that are named. The rows are the newest first.
func (e expectation) match(rows []reference.Row) error {
	if len(e.rows) != len(rows) {
		return fmt.Errorf("%d sessions, want %d", len(rows), len(e.rows))
	}
	for i, fields := range e.rows {
		text, err := json.Marshal(rows[len(rows)-1-i])
		if err != nil {
			return err
		}
		var row map[string]json.RawMessage
		if err := json.Unmarshal(text, &row); err != nil {
			return err
		}
		for _, field := range fields {
			if got, want := plain(row[field.name]), field.want(); got != want {
				return fmt.Errorf("session %d: %s is %q, want %q", i+1, field.name, got, want)
			}
		}
	}
	return nil
}

// plain is a text without its quotes, and any other value as it is.
func plain(value json.RawMessage) string {
	if text, err := strconv.Unquote(string(value)); err == nil {
		return text
	}
	return string(value)
}

func (w word) want() string {
	if at, err := clock(w.value); err == nil && strings.HasSuffix(w.name, "_at") {
		return stamp(at)
	}
	return w.value
}

func TestAScriptThatIsWrongFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, complaint string }{
		"a wrong value":      {"case c\nload\n10:00:00 user\nexpect\nevent_count=2", `4: the reference: session 1: event_count is "1", want "2"`},
		"a wrong time":       {"case c\nload\n10:00:00 user\nexpect\nstarted_at=10:00:01", "started_at is"},
		"a missing session":  {"case c\nload\n10:00:00 user\nexpect", "1 sessions, want 0"},
		"an unknown field":   {"case c\nload\n10:00:00 user\nexpect\ncolour=red", `colour is "", want "red"`},
		"an unknown detail":  {"case c\nload\n10:00:00 user colour=red", `3: no such detail: "colour"`},
		"an unknown setting": {"case c\nset colour=red", `2: no such setting: "colour"`},
		"no case":            {"load", "1: a file begins with a case"},
		"no time":            {"case c\nload\nnoon user", "3: parsing time"},
		"a row before load":  {"case c\nevent_count=1", "2: no expect before it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scripts, err := parseScripts(c.text)
			if err == nil {
				err = scripts[0].run()
			}
			if err == nil || !strings.Contains(err.Error(), c.complaint) {
				t.Errorf("got %v, want %q", err, c.complaint)
			}
		})
	}
}
