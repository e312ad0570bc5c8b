package api

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzFilters: whatever the query, it is understood (and then the database is
// missing), or refused in our own words; it is never our fault.
func FuzzFilters(f *testing.F) {
	for _, query := range []string{
		"", "from=2026-09-28T12:00:00Z&to=2026-09-29T00:00:00%2B02:00", "agent_id=A&session_id=s-1&status=open&engagement_tier=deep&min_messages=3",
		"sort=-quality_score&limit=1000", "limit=0", "limit=9223372036854775808", "cursor=eyJhIjoxfQ", "from=2026-13-01T00:00:00Z",
		"from=2026-09-28T12:00:00Z&to=2026-09-28T12:00:00Z", "agent_id=%00", "agent_id=%ff", "status=", "status=open&status=closed", "nothing=1",
		"%zz", ";", "a;b=c", "from=9999-12-31T23:59:59.999999999-14:00", "from=0000-01-01T00:00:00Z", "min_messages=-1", "sort=%27;--",
	} {
		f.Add(query)
	}
	h := newServer(f, options{config: Config{APIToken: "s3cret-admin"}})
	f.Fuzz(func(t *testing.T, query string) {
		if strings.Contains(query, "min_position") || strings.Contains(query, "wait") {
			return // nobody has time
		}
		r := newRequest(http.MethodGet, "/sessions", nil, "Authorization", "Bearer s3cret-admin")
		r.URL.RawQuery = query
		w := send(h, r)
		if w.Code != http.StatusBadRequest && w.Code != http.StatusServiceUnavailable && w.Code != http.StatusUnprocessableEntity {
			t.Fatalf("%q: %d %s", query, w.Code, w.Body)
		}
		if found := leak.FindString(w.Body.String()); found != "" && !strings.Contains(query, found) {
			t.Errorf("%q: the answer tells %q: %s", query, found, w.Body)
		}
		wantProblem(t, w, w.Code)
	})
}
