package store_test

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rapport/store"
	"rapport/store/storetest"
)

func TestTheAuditKeepsWhoDidWhat(t *testing.T) {
	t.Parallel()
	pg := storetest.New(t)
	db, err := store.Open(t.Context(), pg.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	entries := []store.AuditEntry{
		{Actor: "cli:root", Action: "key.create", Subject: "grafana", Details: map[string]any{"scopes": "read"}},
		{Actor: "key:ops\x00\xff", Action: "session.erase", Subject: "s-1"},
	}
	for _, e := range entries {
		if err := db.Audit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.AuditEntries(t.Context(), "", math.MaxInt64, 10)
	if err != nil {
		t.Fatal(err)
	}
	entries[1].Actor, entries[1].Details = "key:ops\uFFFD\uFFFD", map[string]any{}
	if diff := cmp.Diff([]store.AuditEntry{entries[1], entries[0]}, got, cmpopts.IgnoreFields(store.AuditEntry{}, "ID", "At")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	older, err := db.AuditEntries(t.Context(), "key.create", got[0].ID, 10)
	if err != nil || len(older) != 1 || older[0].ID != got[1].ID {
		t.Errorf("older ones of an action: %+v, %v", older, err)
	}
}

func TestNobodyChangesTheAudit(t *testing.T) {
	t.Parallel()
	pg := storetest.New(t)
	for _, role := range []string{"rapport_server", "rapport_owner"} {
		for _, statement := range []string{"UPDATE audit SET actor = ''", "DELETE FROM audit", "TRUNCATE audit"} {
			if err := pg.TryExec(t.Context(), role, statement); err == nil {
				t.Errorf("%s may %s", role, statement)
			}
		}
	}
}
