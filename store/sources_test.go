package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jackc/pgx/v5"

	"rapport/store"
	"rapport/store/storetest"
)

func secretProof(secret string) store.SourceProof { return store.SourceProof{Secret: []byte(secret)} }

func tokenProof(token string) store.SourceProof {
	digest := sha256.Sum256([]byte(token))
	return store.SourceProof{TokenSHA256: digest[:]}
}

func kiosk() store.Source {
	return store.Source{
		Name: "kiosk", Kinds: []string{"legacy", "token"}, ExpectedRate: 2.5,
		Ranges: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Proofs: []store.SourceProof{secretProof("top secret"), tokenProof("a token")},
	}
}

// proofsOf are the secrets, and digests of tokens, of one source; with a + those
// that end.
func proofsOf(t *testing.T, db *storetest.Database, name string) []string {
	t.Helper()
	sources, err := db.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, s := range sources {
		for _, p := range s.Proofs {
			if s.Name != name {
				continue
			}
			text := string(p.Secret)
			if p.TokenSHA256 != nil {
				text = "a digest"
			}
			if p.EndsAt != nil {
				text += "+"
			}
			texts = append(texts, text)
		}
	}
	return texts
}

func TestSourcesAreKept(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	other := store.Source{Name: "a-token", Kinds: []string{"token"}, Proofs: []store.SourceProof{tokenProof("x")}}
	for _, s := range []store.Source{kiosk(), other} {
		if err := db.SourceAdd(t.Context(), "cli:me", s); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Source{other, kiosk()}, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Prefix{}),
		cmpopts.IgnoreFields(store.Source{}, "CreatedAt"), cmpopts.IgnoreFields(store.SourceProof{}, "CreatedAt")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := db.SourceAdd(t.Context(), "cli:me", kiosk()); !errors.Is(err, store.ErrSourceExists) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := db.SourceAdd(t.Context(), "cli:me", store.Source{Name: "none", Kinds: []string{"token"}}); err == nil {
		t.Error("a source needs a proof")
	}
	for _, name := range []string{"default", "Kiosk", "", strings.Repeat("x", 41)} {
		s := kiosk()
		s.Name = name
		if err := db.SourceAdd(t.Context(), "cli:me", s); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
}

func TestSecretsAreRotated(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	if err := db.SourceAdd(t.Context(), "cli:me", kiosk()); err != nil {
		t.Fatal(err)
	}
	rotate := func(overlap time.Duration, proofs ...store.SourceProof) {
		t.Helper()
		if err := db.SourceRotate(t.Context(), "cli:me", "kiosk", proofs, overlap); err != nil {
			t.Fatal(err)
		}
	}
	want := func(promise string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, proofsOf(t, db, "kiosk")); diff != "" {
			t.Errorf("%s: -want +got:\n%s", promise, diff)
		}
	}
	rotate(time.Hour, secretProof("second"))
	want("the old secret goes on, and the token stays as it is", "top secret+", "a digest", "second")
	rotate(24*time.Hour, secretProof("third"))
	want("all of them overlap", "top secret+", "a digest", "second+", "third")
	ends := storetest.Query(t, db, "rapport_owner", pgx.RowTo[float64],
		"SELECT extract(epoch FROM ends_at - clock_timestamp())::float8 FROM source_secrets WHERE ends_at IS NOT NULL ORDER BY id")
	if len(ends) != 2 || math.Abs(ends[0]-3600) > 120 || math.Abs(ends[1]-24*3600) > 120 {
		t.Errorf("what ends earlier is not put off: %v", ends)
	}
	rotate(0, tokenProof("another"), secretProof("fourth"))
	want("without an overlap the old ones are gone at once", "a digest", "fourth")
	rotate(time.Hour, tokenProof("a third"))
	want("tokens overlap too", "a digest+", "fourth", "a digest")

	if n, err := db.SourceFinish(t.Context(), "cli:me", "kiosk"); err != nil || n != 1 {
		t.Errorf("%d ended, %v", n, err)
	}
	want("an overlap can be ended", "fourth", "a digest")
	if n, err := db.SourceFinish(t.Context(), "cli:me", "kiosk"); err != nil || n != 0 {
		t.Errorf("%d ended, %v", n, err)
	}
	rotate(time.Hour, secretProof("fifth"))
	db.Exec(t, "rapport_owner", "UPDATE source_secrets SET ends_at = clock_timestamp() WHERE ends_at IS NOT NULL")
	want("what has ended is not told", "a digest", "fifth")
	rotate(time.Hour, secretProof("sixth"))
	if left := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], "SELECT count(*) FROM source_secrets WHERE secret = 'fourth'"); left[0] != 0 {
		t.Error("what has ended is still in the table after the next rotation")
	}
}

func TestWhatCannotBeRotated(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	s := kiosk()
	s.Kinds, s.Proofs = []string{"account"}, s.Proofs[:1]
	if err := db.SourceAdd(t.Context(), "cli:me", s); err != nil {
		t.Fatal(err)
	}
	if err := db.SourceRotate(t.Context(), "cli:me", "kiosk", []store.SourceProof{secretProof("x"), tokenProof("x")}, 0); !errors.Is(err, store.ErrSourceKind) {
		t.Errorf("a token of a source that takes none: %v", err)
	}
	if got := proofsOf(t, db, "kiosk"); len(got) != 1 || got[0] != "top secret" {
		t.Errorf("half of it was done: %v", got)
	}
	for what, do := range map[string]func() error{
		"rotate": func() error {
			return db.SourceRotate(t.Context(), "cli:me", "none", []store.SourceProof{secretProof("x")}, 0)
		},
		"finish": func() error { _, err := db.SourceFinish(t.Context(), "cli:me", "none"); return err },
		"remove": func() error { return db.SourceRemove(t.Context(), "cli:me", "none") },
	} {
		if err := do(); !errors.Is(err, store.ErrNoSource) {
			t.Errorf("%s of none: %v", what, err)
		}
	}
	if entries := sourceAudit(t, db); len(entries) != 1 {
		t.Errorf("what failed is in the audit: %+v", entries)
	}
}

func TestTwoRotationsAtOnceLeaveTwoSecrets(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	if err := db.SourceAdd(t.Context(), "cli:me", kiosk()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	for _, secret := range []string{"one", "two"} {
		go func() {
			done <- db.SourceRotate(context.WithoutCancel(t.Context()), "cli:me", "kiosk", []store.SourceProof{secretProof(secret)}, time.Hour)
		}()
	}
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	staying := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], "SELECT count(*) FROM source_secrets WHERE secret IS NOT NULL AND ends_at IS NULL")
	if staying[0] != 1 {
		t.Errorf("%d secrets stay, want the later one", staying[0])
	}
}

func sourceAudit(t *testing.T, db *storetest.Database) []string {
	t.Helper()
	return storetest.Query(t, db, "rapport_owner", pgx.RowTo[string],
		"SELECT actor || ' ' || action || ' ' || subject || ' ' || details::text FROM audit WHERE action LIKE 'source.%' ORDER BY id")
}

func TestChangesOfSourcesAreInTheAudit(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for _, err := range []error{
		db.SourceAdd(t.Context(), "cli:me", kiosk()),
		db.SourceRotate(t.Context(), "cli:me", "kiosk", []store.SourceProof{secretProof("another secret")}, time.Hour),
		func() error { _, err := db.SourceFinish(t.Context(), "cli:me", "kiosk"); return err }(),
		db.SourceRemove(t.Context(), "cli:me", "kiosk"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`cli:me source.add kiosk {"kinds": ["legacy", "token"], "ranges": ["192.0.2.0/24", "2001:db8::/32"], "tokens": 1, "secrets": 1, "expected_rate": 2.5}`,
		`cli:me source.rotate kiosk {"tokens": 0, "secrets": 1, "overlap_s": 3600}`,
		`cli:me source.finish kiosk {"ended": 1}`,
		`cli:me source.remove kiosk {}`,
	}
	if diff := cmp.Diff(want, sourceAudit(t, db)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	t.Run("and none is made that the audit can't take", func(t *testing.T) {
		db.Exec(t, "rapport_owner", "ALTER TABLE audit ADD CONSTRAINT full_up CHECK (action <> 'source.add') NOT VALID")
		if err := db.SourceAdd(t.Context(), "cli:me", kiosk()); err == nil {
			t.Error("it is made")
		}
		if got := proofsOf(t, db, "kiosk"); len(got) != 0 {
			t.Errorf("it is there: %v", got)
		}
	})
}

func TestWhatCameIsCounted(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	if err := db.SourceAdd(t.Context(), "cli:me", kiosk()); err != nil {
		t.Fatal(err)
	}
	early := time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	late := early.Add(time.Hour)
	for _, tallies := range [][]store.SourceTally{
		{{Source: "kiosk", Proven: 3, ProvenAt: late}, {Source: "default", Proven: 1, ProvenAt: early}, {Source: "removed", Proven: 9, ProvenAt: early}},
		{{Source: "kiosk", Proven: 4, OverRate: 2, ProvenAt: early, OverRateAt: &early}},
		nil,
	} {
		if err := db.AddSourceTallies(t.Context(), tallies); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.SourceTallies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []store.SourceTally{
		{Source: "default", Proven: 1, ProvenAt: early},
		{Source: "kiosk", Proven: 7, OverRate: 2, ProvenAt: late, OverRateAt: &early},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := db.SourceRemove(t.Context(), "cli:me", "kiosk"); err != nil {
		t.Fatal(err)
	}
	if got, err := db.SourceTallies(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("after its source: %+v, %v", got, err)
	}
}

func TestTheReaderSeesNoSource(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for _, table := range []string{"sources", "source_secrets", "source_tallies"} {
		for _, statement := range []string{"SELECT FROM public." + table, "DELETE FROM public." + table} {
			if err := db.TryExec(t.Context(), "rapport_reader", statement); err == nil {
				t.Errorf("the reader may %s", statement)
			}
		}
	}
}
