package conformance_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/internal/conformance"
)

func checkFake(t *testing.T, change func(*fake), opts conformance.CheckOptions) conformance.Report {
	t.Helper()
	deliveries := generate(t, 40, time.Now())
	url := startFake(t, deliveries, change)
	opts.Seed, opts.Connections, opts.Settings = 1, 4, rapport.DefaultSettings()
	report, err := conformance.Check(t.Context(), http.DefaultClient, url, deliveries, opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestCheck(t *testing.T) {
	t.Parallel()

	t.Run("a right server has no differences", func(t *testing.T) {
		t.Parallel()
		report := checkFake(t, nil, conformance.CheckOptions{})
		if len(report.Differences) > 0 {
			t.Errorf("found %v", report.Differences[0])
		}
		if report.Sessions < 40 || report.Open == 0 || report.Open == report.Sessions {
			t.Errorf("%d sessions, %d of them open", report.Sessions, report.Open)
		}
	})

	t.Run("a tenth is sent twice, in another order than it happened", func(t *testing.T) {
		t.Parallel()
		var bodies []string
		report := checkFake(t, func(f *fake) {
			f.refuse = func(_ *http.Request, body []byte) bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				bodies = append(bodies, string(body))
				return false
			}
		}, conformance.CheckOptions{})
		if again := report.Deliveries / 10; report.Duplicates != again || report.Posts != report.Deliveries+again || len(bodies) != report.Posts {
			t.Errorf("%d deliveries in %d posts, %d duplicates", report.Deliveries, report.Posts, report.Duplicates)
		}
	})

	t.Run("deliveries are signed and reads are authorized", func(t *testing.T) {
		t.Parallel()
		report := checkFake(t, func(f *fake) {
			f.refuse = func(r *http.Request, _ []byte) bool {
				return len(r.Header.Get("X-bitHuman-Signature")) != len("sha256=")+64 || r.Header.Get("Authorization") != "Bearer posts"
			}
		}, conformance.CheckOptions{Secret: "secret", Token: "posts", APIToken: "reads"})
		if len(report.Differences) > 0 {
			t.Errorf("found %v", report.Differences[0])
		}
	})

	t.Run("no connection is an error", func(t *testing.T) {
		t.Parallel()
		if _, err := conformance.Check(t.Context(), http.DefaultClient, "http://127.0.0.1:1", nil, conformance.CheckOptions{}); err == nil {
			t.Error("no error")
		}
	})
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	change := func(field string, value any) func(*fake) {
		return func(f *fake) {
			f.spoil = func(rows []row) []row {
				rows[11][field] = value
				return rows
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*fake)
		want   string // in the only difference
	}{
		"a wrong number":         {change("event_count", 12345), "event_count is 12345, want "},
		"a wrong last digit":     {change("duration_s", 12345.001), "duration_s is 12345.001, want "},
		"a wrong text":           {change("engagement_tier", "Deep"), `engagement_tier is "Deep", want "`},
		"a number as a text":     {change("event_count", "12"), `event_count is "12", want `},
		"a time without zeros":   {change("closes_at", "2026-01-05T10:00:00Z"), `closes_at is "2026-01-05T10:00:00Z", want "`},
		"a field too many":       {change("colour", "red"), `colour is "red", want absent`},
		"a null":                 {change("room_name", nil), `room_name is null, want "`},
		"a field that is absent": {func(f *fake) { f.spoil = func(rows []row) []row { delete(rows[3], "rating"); return rows } }, "rating is absent, want "},
		"a session too few":      {func(f *fake) { f.spoil = func(rows []row) []row { return slices.Delete(rows, 8, 9) } }, "the session is missing, want there"},
		"two in the wrong order": {func(f *fake) {
			f.spoil = func(rows []row) []row { rows[2], rows[3] = rows[3], rows[2]; return rows }
		}, "GET /sessions: row 2 is session"},
		"a duplicate as new": {func(f *fake) { f.dishonest = true }, "answers without duplicate is 2, want 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := checkFake(t, c.change, conformance.CheckOptions{})
			if len(report.Differences) == 0 || !strings.Contains(report.Differences[0].String(), c.want) {
				t.Fatalf("found %v, want %q", report.Differences, c.want)
			}
			if len(report.Differences) > 1 && name != "a duplicate as new" {
				t.Errorf("found more: %v", report.Differences[1:])
			}
		})
	}

	t.Run("a session that is there twice", func(t *testing.T) {
		t.Parallel()
		report := checkFake(t, func(f *fake) {
			f.spoil = func(rows []row) []row { return slices.Insert(rows, 9, rows[8]) }
		}, conformance.CheckOptions{})
		if len(report.Differences) != 1 || report.Differences[0].Got != "there twice" {
			t.Errorf("found %v", report.Differences)
		}
	})

	t.Run("an event that was answered and lost", func(t *testing.T) {
		t.Parallel()
		report := checkFake(t, func(f *fake) {
			f.forget = func(e rapport.Event) bool { return e.Type == rapport.SessionEnd }
		}, conformance.CheckOptions{})
		if !slices.ContainsFunc(report.Differences, func(d conformance.Difference) bool { return d.Field == "event_count" }) {
			t.Errorf("found %v", report.Differences)
		}
	})

	t.Run("a delivery that was refused", func(t *testing.T) {
		t.Parallel()
		report := checkFake(t, func(f *fake) {
			f.refuse = func(_ *http.Request, body []byte) bool { return bytes.Contains(body, []byte("evt_")) }
		}, conformance.CheckOptions{})
		if len(report.Differences) < 2 || report.Differences[0].Got != "401 refused" {
			t.Errorf("found %v", report.Differences)
		}
	})
}
