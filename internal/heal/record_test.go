package heal_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rapport/internal/heal"
	"rapport/internal/heal/recordtest"
)

func newRecord(t *testing.T, url string) (record *heal.Record, waited *[]time.Duration) {
	t.Helper()
	record, err := heal.NewRecord(heal.Options{
		URL: url, User: recordtest.User, Secret: recordtest.Secret, Timeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	waited = new([]time.Duration)
	record.SetPause(func(_ context.Context, d time.Duration) error { *waited = append(*waited, d); return nil })
	return record, waited
}

// answers gives one answer after the other, and then those of the record itself.
func answers(statuses ...http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	var asked atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		n := int(asked.Add(1))
		if n <= len(statuses) {
			statuses[n-1](w, r)
		}
		return n <= len(statuses)
	}
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func TestTheRecordIsAskedPatiently(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers []http.HandlerFunc
		waits   []time.Duration
	}{
		"too many requests, with a time to wait": {
			[]http.HandlerFunc{status(429, "Retry-After", "7")}, []time.Duration{7 * time.Second},
		},
		"too many requests, with a time that is over": {
			[]http.HandlerFunc{status(429, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT")}, []time.Duration{time.Second},
		},
		"failures of the server": {
			[]http.HandlerFunc{status(500), status(502), status(503)},
			[]time.Duration{time.Second, 2 * time.Second, 4 * time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := recordtest.New(t, said("s"))
			server.Instead(answers(c.answers...))
			record, waited := newRecord(t, server.URL+"/")
			sessions, _, err := record.Sessions(t.Context(), 10)
			if err != nil || len(sessions) != 1 {
				t.Fatal(sessions, err)
			}
			if !slices.Equal(*waited, c.waits) {
				t.Errorf("waited %v, want %v", *waited, c.waits)
			}
		})
	}
}

func TestWhatIsWrongWithTheRecordIsSaid(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		says   string
		tries  int
	}{
		"the secret is refused":     {status(401), "refused the secret (401): check --record-secret", 1},
		"the secret may not":        {status(403), "refused the secret (403): check --record-secret", 1},
		"the address is unknown":    {status(404), "check --record-url and --record-user", 1},
		"the record has moved":      {status(302, "Location", "http://127.0.0.1:1/elsewhere"), "the secret goes nowhere but", 1},
		"something else":            {status(418), "the record answered 418", 1},
		"it fails for good":         {status(503), "it answered 503, after 5 tries", 5},
		"it wants too long a rest":  {status(429, "Retry-After", "3600"), "asks to be left alone for 1h0m0s", 1},
		"it hangs":                  {hang, "not available", 5},
		"it answers no JSON":        {write("<html>"), "can't be read: it is not JSON", 1},
		"it answers half of it":     {write(`{"sessions": [`), "can't be read: it is not JSON", 1},
		"it answers something else": {write(`{"error": "none"}`), "it has no list where one should be", 1},
		"it answers a text":         {write(`"sessions"`), "it has no list where one should be", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := recordtest.New(t)
			server.Instead(func(w http.ResponseWriter, r *http.Request) bool { c.answer(w, r); return true })
			record, _ := newRecord(t, server.URL)
			_, _, err := record.Sessions(t.Context(), 10)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("got %v, want %q", err, c.says)
			}
			if strings.Contains(err.Error(), recordtest.Secret) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %q", err)
			}
			if got := len(server.Requests()); got != c.tries {
				t.Errorf("asked %d times, want %d", got, c.tries)
			}
		})
	}
}

func TestTheRecordIsReadLiberally(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		list string
		want []heal.Session
		bad  int
	}{
		"a bare list":  {`[{"id":"a"}]`, []heal.Session{{ID: "a", HasTranscript: true}}, 0},
		"data in data": {`{"data":{"sessions":[{"id":7,"has_transcript":false}]}}`, nil, -1},
		"a list called data": {
			`{"data":[{"id":7,"has_transcript":false,"last_seen":"2026-09-28T14:00:00.000+02:00","started":5}]}`,
			[]heal.Session{{ID: "7", LastSeen: at}}, 0,
		},
		"entries that are none": {`{"sessions":[1,{},{"id":""},{"id":"a","status":null}]}`, []heal.Session{{ID: "a", HasTranscript: true}}, 3},
		"no sessions":           {`{"sessions":null}`, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := recordtest.New(t)
			server.Instead(func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write([]byte(c.list)); return true })
			record, _ := newRecord(t, server.URL)
			got, bad, err := record.Sessions(t.Context(), 10)
			if (err != nil) != (c.bad < 0) {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) || bad != max(c.bad, 0) {
				t.Errorf("got %+v and %d that can't be read, want %+v and %d", got, bad, c.want, c.bad)
			}
		})
	}
}

func TestOptionsOfTheRecordAreChecked(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]heal.Options{
		"no URL":             {User: "u", Secret: "s"},
		"another scheme":     {URL: "ftp://record.test", User: "u", Secret: "s"},
		"a password in it":   {URL: "https://u:s@record.test", User: "u", Secret: "s"},
		"a query":            {URL: "https://record.test?secret=s", User: "u", Secret: "s"},
		"no user":            {URL: heal.DefaultURL, Secret: "s"},
		"no secret":          {URL: heal.DefaultURL, User: "u"},
		"a line in a secret": {URL: heal.DefaultURL, User: "u", Secret: "hush\nhush"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := heal.NewRecord(o); err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v", err)
			}
		})
	}
}
