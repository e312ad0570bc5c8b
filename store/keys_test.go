package store_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/storetest"
)

func newKey(name string) store.NewKey {
	return store.NewKey{Name: name, Prefix: "rpt_" + name, Hash: [32]byte([]byte(name + "                                ")), Scopes: []string{"read"}}
}

func create(t *testing.T, db *storetest.Database, k store.NewKey) {
	t.Helper()
	if err := db.CreateKey(t.Context(), k, "cli:test"); err != nil {
		t.Fatal(err)
	}
}

func standing(t *testing.T, db *storetest.Database) []string {
	t.Helper()
	keys, secret, err := db.StandingKeys(t.Context())
	if err != nil || len(secret) != 32 {
		t.Fatalf("%v, a secret of %d bytes", err, len(secret))
	}
	var names []string
	for _, k := range keys {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return names
}

func TestKeys(t *testing.T) {
	t.Parallel()

	t.Run("a key is kept as it was made", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		k := newKey("a")
		until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		k.Scopes, k.Agents, k.ExpiresAt = []string{"read", "live"}, []string{"A", "B"}, &until
		create(t, db, k)
		keys, _, err := db.StandingKeys(t.Context())
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		want := store.StandingKey{ID: keys[0].ID, Name: "a", Hash: k.Hash, Scopes: k.Scopes, Agents: k.Agents, ExpiresAt: &until}
		if diff := cmp.Diff(want, keys[0]); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		listed, err := db.Keys(t.Context())
		if err != nil || len(listed) != 1 || listed[0].Prefix != "rpt_a" || listed[0].LastUsedAt != nil || listed[0].RevokedAt != nil {
			t.Errorf("%+v, %v", listed, err)
		}
	})

	t.Run("names are unique among the keys that are valid", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		create(t, db, newKey("a"))
		other := newKey("a")
		other.Hash[31] = 'x'
		if err := db.CreateKey(t.Context(), other, "cli:test"); !errors.Is(err, store.ErrKeyExists) {
			t.Errorf("a second a: %v", err)
		}
		if err := db.RevokeKey(t.Context(), "a", "cli:test"); err != nil {
			t.Fatal(err)
		}
		create(t, db, other)
		past := time.Now().Add(-time.Minute)
		expired := newKey("b")
		expired.ExpiresAt = &past
		create(t, db, expired)
		if got := standing(t, db); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("an expired key does not stand: %v", got)
		}
		other = newKey("b")
		other.Hash[31] = 'x'
		create(t, db, other)
		if got := standing(t, db); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%v", got)
		}
	})

	t.Run("a revoked key is out, and only once", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		create(t, db, newKey("a"))
		if err := db.RevokeKey(t.Context(), "a", "cli:test"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "nobody"} {
			if err := db.RevokeKey(t.Context(), name, "cli:test"); !errors.Is(err, store.ErrNoKey) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := standing(t, db); len(got) != 0 {
			t.Errorf("%v stand", got)
		}
	})

	t.Run("the audit has what was done, and nothing of what failed", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		create(t, db, newKey("a"))
		_ = db.CreateKey(t.Context(), newKey("a"), "cli:test")
		_ = db.RevokeKey(t.Context(), "b", "cli:test")
		if err := db.RevokeKey(t.Context(), "a", "cli:other"); err != nil {
			t.Fatal(err)
		}
		entries, err := db.AuditEntries(t.Context(), "", math.MaxInt64, 10)
		if err != nil || len(entries) != 2 {
			t.Fatalf("%+v, %v", entries, err)
		}
		if e := entries[0]; e.Action != "key.revoke" || e.Subject != "a" || e.Actor != "cli:other" {
			t.Errorf("%+v", e)
		}
		if e := entries[1]; e.Action != "key.create" || e.Subject != "a" || e.Actor != "cli:test" || e.Details["prefix"] != "rpt_a" {
			t.Errorf("%+v", e)
		}
	})

	t.Run("the last use never goes back", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		create(t, db, newKey("a"))
		keys, _, err := db.StandingKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{noon, noon.Add(-time.Hour)} {
			if err := db.TouchKeys(t.Context(), map[int64]time.Time{keys[0].ID: at, 1_000_000: at}); err != nil {
				t.Fatal(err)
			}
		}
		listed, err := db.Keys(t.Context())
		if err != nil || listed[0].LastUsedAt == nil || !listed[0].LastUsedAt.Equal(noon) {
			t.Errorf("%+v, %v", listed, err)
		}
	})
}

func TestWhoMayTouchTheKeys(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	create(t, db, newKey("a"))
	for role, statements := range map[string][]string{
		"rapport_server": {
			"UPDATE keys SET scopes = '{admin}'", "UPDATE keys SET hash = hash", "UPDATE keys SET agents = '{}'",
			"UPDATE keys SET expires_at = NULL", "DELETE FROM keys", "TRUNCATE keys", "UPDATE signin_secret SET secret = secret",
			"INSERT INTO keys (name, prefix, hash, scopes, agents) VALUES ('x', 'x', sha256('x'), '{admin}', '{A}')",
			"INSERT INTO keys (name, prefix, hash, scopes, agents) VALUES ('x', 'x', sha256('x'), '{}', '{}')",
			"INSERT INTO keys (name, prefix, hash, scopes, agents) VALUES ('x', 'x', sha256('x'), '{root}', '{}')",
		},
		"rapport_reader": {
			"SELECT * FROM public.keys", "SELECT name FROM public.keys", "SELECT * FROM public.signin_secret", "SELECT * FROM public.audit",
		},
	} {
		for _, statement := range statements {
			if err := db.TryExec(t.Context(), role, statement); err == nil {
				t.Errorf("%s may %s", role, statement)
			}
		}
	}
}

func TestEachDatabaseHasASecretOfItsOwn(t *testing.T) {
	t.Parallel()
	var secrets []string
	for range 2 {
		db := storetest.NewEmpty(t, "template0")
		if _, err := store.Migrate(t.Context(), db.URL("rapport_owner")); err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, storetest.Query(t, db, "rapport_owner", pgx.RowTo[string], "SELECT encode(secret, 'hex') FROM signin_secret")...)
	}
	if len(secrets) != 2 || secrets[0] == secrets[1] || len(secrets[0]) != 64 {
		t.Errorf("%d secrets, or equal ones", len(secrets))
	}
}
