package api

import (
	"net/http"
	"testing"

	"rapport/store"
)

func TestTheAudit(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	for _, e := range []store.AuditEntry{
		{Actor: "cli:root", Action: "source.rotate", Subject: "one", Details: map[string]any{"n": 1}},
		{Actor: "cli:root", Action: "source.add", Subject: "two"},
		{Actor: "cli:root", Action: "source.rotate", Subject: "three"},
	} {
		if err := l.db.Audit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	wantColumn(t, allRows(t, l, "/audit", 2), "subject", "three", "two", "one")
	wantColumn(t, allRows(t, l, "/audit", 50), "action", "audit.read", "source.rotate", "source.add", "source.rotate")
	for _, limit := range []int{1, 2, 50} {
		wantColumn(t, allRows(t, l, "/audit?action=source.rotate", limit), "subject", "three", "one")
	}
	wantColumn(t, allRows(t, l, "/audit?action=source.rotate%00", 50), "subject")
	wantFields(t, l, "/audit", "id", "at", "actor", "action", "subject", "details")
	wantBadParameter(t, get(l, "/audit?limit=0"), "limit")
	wantBadParameter(t, get(l, "/audit?cursor=x"), "cursor")
}

func TestWhatAnAdminChangesIsInTheAudit(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	bury(t, l, 2, 9)
	retry := func(path string, headers ...string) int {
		return send(l, newRequest(http.MethodPost, path, nil, headers...)).Code
	}
	if code := retry("/dead-letters/7/retry"); code != http.StatusNotFound {
		t.Errorf("%d", code)
	}
	if code := retry("/dead-letters/9/retry"); code != http.StatusOK {
		t.Errorf("%d", code)
	}
	key := l.key(t, "ops", []string{"admin"})
	reader := l.key(t, "reader", readScope)
	if code := retry("/dead-letters/retry", bearerOf(reader)...); code != http.StatusForbidden {
		t.Errorf("%d", code)
	}
	if code := retry("/dead-letters/retry", bearerOf(key)...); code != http.StatusOK {
		t.Errorf("%d", code)
	}
	rows := allRows(t, as(l, key), "/audit?action=dead_letter.retry", 50)
	wantColumn(t, rows, "actor", "key:ops", "key:loopback")
	wantColumn(t, rows, "subject", "all", "9")
	wantColumn(t, rows, "details", "map[retrying:1]", "map[retrying:1]")
}
