package dashboard

import (
	"net/url"
	"testing"
	"time"
)

func TestAURLTellsAStateAndAStateItsURL(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"", "range=7d", "agent=a%26b+c&range=30d&tz=Europe%2FBerlin", "from=2026-01-31&range=custom&to=2026-02-02",
		"agent=%3Cscript%3E", "range=12m&until=2026-09-01T00%3A00%3A00Z",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		s := readState(values, testNow)
		if got := s.Values().Encode(); got != query || len(s.Problems) > 0 {
			t.Errorf("%q becomes %q, %v", query, got, s.Problems)
		}
	}
}

func TestWhatAURLSaysByDefaultIsLeftOut(t *testing.T) {
	t.Parallel()
	values := url.Values{"range": {"24h"}, "tz": {"UTC"}, "agent": {""}, "from": {""}, "to": {""}}
	s := readState(values, testNow)
	if got := s.Link("/x"); got != "/x" {
		t.Error(got)
	}
	if got := s.Link("/x", "a", "1", "b", ""); got != "/x?a=1" {
		t.Error(got)
	}
}

func TestARangeEndsNowOrWhereItIsSaidTo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 9, 28, 12, 3, 0, 0, time.UTC)
	for query, want := range map[string][2]string{
		"":                                    {"2026-09-27T12:15:00Z", "2026-09-28T12:15:00Z"},
		"range=7d":                            {"2026-09-21T12:15:00Z", "2026-09-28T12:15:00Z"},
		"range=1h&until=2026-01-01T00:00:00Z": {"2025-12-31T23:00:00Z", "2026-01-01T00:00:00Z"},
		// Days are those of the place: that of the change to winter time has 25 hours.
		"range=custom&from=2026-10-25&to=2026-10-25&tz=Europe/Berlin": {"2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got := readState(values, now).Query()
		if got.Get("from") != want[0] || got.Get("to") != want[1] {
			t.Errorf("%s: %v", query, got)
		}
	}
}

func TestWhatCannotBeUnderstoodIsToldAndPassedOver(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"range=1y", "tz=Local", "tz=right%2FUTC", "tz=..%2F..%2Fetc%2Fpasswd", "until=yesterday", "until=99999-01-01T00:00:00Z",
		"range=custom", "range=custom&from=2026-02-30&to=2026-03-01", "range=custom&from=2026-03-02&to=2026-03-01", "range=custom&from=0001-01-01&to=2026-01-01",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		s := readState(values, testNow)
		if len(s.Problems) != 1 || s.Link("/") != "/" {
			t.Errorf("%s: %q, %s", query, s.Problems, s.Link("/"))
		}
	}
}

func TestASessionIsFoundByWhatItsLinkSays(t *testing.T) {
	t.Parallel()
	s := readState(url.Values{"range": {"7d"}}, testNow)
	for id, want := range map[string]string{
		"s1":     "/ui/sessions/s1?agent_id=A&range=7d&started_at=2026-09-28T12%3A00%3A00Z",
		"a/b?c#": "/ui/sessions/a%2Fb%3Fc%23?agent_id=A&range=7d&started_at=2026-09-28T12%3A00%3A00Z",
		"..":     "/ui/sessions?range=7d&session_id=..",
	} {
		if got := sessionLink(s, "A", id, &testNow); got != want {
			t.Errorf("%q: %s", id, got)
		}
	}
}

func TestTheSessionOfALinkIsTheOneThatItBelongsToNow(t *testing.T) {
	t.Parallel()
	window := func(start, end int) session {
		return session{StartedAt: testNow.Add(time.Duration(start) * time.Hour), LastActivityAt: testNow.Add(time.Duration(end) * time.Hour)}
	}
	all := []session{window(6, 8), window(3, 4), window(0, 1)}
	for at, want := range map[string]struct {
		index int
		moved bool
	}{
		"": {0, false}, "nonsense": {0, false},
		testNow.Format(time.RFC3339Nano):                    {2, false},
		testNow.Add(7 * time.Hour).Format(time.RFC3339Nano): {0, true},
		testNow.Add(2 * time.Hour).Format(time.RFC3339Nano): {0, true},
	} {
		d := &sessionData{Others: all}
		d.choose(at)
		if !d.Session.StartedAt.Equal(all[want.index].StartedAt) || d.Moved != want.moved {
			t.Errorf("%q: %v, moved %t", at, d.Session.StartedAt, d.Moved)
		}
	}
}

func TestTheStreamBeginsWhereThePageEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		head *int64
		seen int64
		want string
	}{
		{nil, 7, ""}, {new(int64(100)), 0, "0"}, {new(int64(100)), 97, "97"}, {new(int64(100)), 100, "100"},
		{new(int64(1000)), 97, "600"}, {new(int64(100)), 105, "100"},
	} {
		if got := beginAt(test.head, test.seen); got != test.want {
			t.Errorf("%v, %d: %q, want %q", test.head, test.seen, got, test.want)
		}
	}
}
