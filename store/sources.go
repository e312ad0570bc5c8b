package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"rapport/store/internal/dbsqlc"
)

// ErrSourceExists says that there is a source of this name already.
var ErrSourceExists = errors.New("there is a webhook source of this name already: remove it first, or rotate its secrets")

// ErrNoSource says that there is no stored source of this name.
var ErrNoSource = errors.New("there is no webhook source of this name: see rapport source list")

// ErrSourceKind says that a source doesn't accept what a secret or token proves.
var ErrSourceKind = errors.New("the source does not accept this kind of proof: remove it, and add it anew with the kinds that it is to accept")

// Source is a webhook source: who may deliver, and how that is proven. What the
// fields mean is for the API: the store keeps them.
type Source struct {
	Name         string         `json:"name"`
	Kinds        []string       `json:"kinds"`         // of proof: legacy, account, standard, token
	Ranges       []netip.Prefix `json:"ranges"`        // that it may deliver from; empty: any
	ExpectedRate float64        `json:"expected_rate"` // deliveries per second; 0: none
	CreatedAt    time.Time      `json:"created_at"`
	Proofs       []SourceProof  `json:"proofs"` // the oldest first
}

// SourceProof is a secret or the digest of a token: one of the two.
type SourceProof struct {
	Secret      []byte     `json:"secret,omitempty"`
	TokenSHA256 []byte     `json:"token_sha256,omitempty"`
	CreatedAt   time.Time  `json:"created_at"`
	EndsAt      *time.Time `json:"ends_at,omitempty"` // from then on it proves nothing; nil: never
}

// SourceTally is what came from a source.
type SourceTally struct {
	Source     string
	Proven     int64      // deliveries that were proven to be its
	OverRate   int64      // those of them that came above its expected rate
	ProvenAt   time.Time  // the last of them
	OverRateAt *time.Time // the last above the rate
}

// Sources are those that are stored, by name, each with what proves its
// deliveries now.
func (db *DB) Sources(ctx context.Context) ([]Source, error) {
	rows, err := db.q.SourceList(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook sources: %w", err)
	}
	var sources []Source
	for _, row := range rows {
		if len(sources) == 0 || sources[len(sources)-1].Name != row.Name {
			sources = append(sources, Source{
				Name: row.Name, Kinds: row.Kinds, Ranges: row.Ranges, ExpectedRate: row.ExpectedRate, CreatedAt: row.CreatedAt,
			})
		}
		s := &sources[len(sources)-1]
		s.Proofs = append(s.Proofs, SourceProof{
			Secret: row.Secret, TokenSHA256: row.TokenSha256, CreatedAt: row.ProofCreatedAt, EndsAt: row.EndsAt,
		})
	}
	return sources, nil
}

// SourceAdd adds a source with its proofs, of which it needs at least one, and
// records who did. Its times are the database's to give. A name that is taken is
// ErrSourceExists.
func (db *DB) SourceAdd(ctx context.Context, actor string, s Source) error {
	if len(s.Proofs) == 0 {
		return errors.New("a webhook source needs a secret or a token")
	}
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if err := q.SourceInsert(ctx, dbsqlc.SourceInsertParams{
			Name: s.Name, Kinds: s.Kinds, Ranges: append([]netip.Prefix{}, s.Ranges...), ExpectedRate: s.ExpectedRate,
		}); err != nil {
			return err
		}
		if err := insertProofs(ctx, q, s.Name, s.Proofs); err != nil {
			return err
		}
		details := proofDetails(s.Proofs)
		details["kinds"], details["ranges"], details["expected_rate"] = s.Kinds, s.Ranges, s.ExpectedRate
		return audit(ctx, q, AuditEntry{Actor: actor, Action: "source.add", Subject: s.Name, Details: details})
	})
	if sqlState(err) == uniqueViolation {
		return ErrSourceExists
	}
	if err != nil {
		return fmt.Errorf("adding the webhook source: %w", err)
	}
	return nil
}

const uniqueViolation = "23505"

func insertProofs(ctx context.Context, q *dbsqlc.Queries, source string, proofs []SourceProof) error {
	for _, p := range proofs {
		if err := q.SourceSecretInsert(ctx, dbsqlc.SourceSecretInsertParams{
			Source: source, Secret: p.Secret, TokenSha256: p.TokenSHA256,
		}); err != nil {
			return err
		}
	}
	return nil
}

// proofDetails count, and tell nothing else.
func proofDetails(proofs []SourceProof) map[string]any {
	secrets := 0
	for _, p := range proofs {
		if p.Secret != nil {
			secrets++
		}
	}
	return map[string]any{"secrets": secrets, "tokens": len(proofs) - secrets}
}

// SourceRotate gives a source new proofs, and records who did. Of each of the two,
// secrets and tokens, of which there is a new one, those that it had go on for
// the overlap, unless they end earlier anyway. It is ErrNoSource or ErrSourceKind
// if it can't be.
func (db *DB) SourceRotate(ctx context.Context, actor, name string, proofs []SourceProof, overlap time.Duration) error {
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		kinds, err := q.SourceLock(ctx, name)
		if err != nil {
			return err
		}
		for _, tokens := range []bool{false, true} {
			if !slices.ContainsFunc(proofs, func(p SourceProof) bool { return (p.Secret == nil) == tokens }) {
				continue
			}
			if !slices.ContainsFunc(kinds, func(kind string) bool { return (kind == "token") == tokens }) {
				return ErrSourceKind
			}
			if _, err := q.SourceSecretRetire(ctx, dbsqlc.SourceSecretRetireParams{
				Source: name, Tokens: tokens, Overlap: pgtype.Interval{Microseconds: overlap.Microseconds(), Valid: true},
			}); err != nil {
				return err
			}
		}
		if _, err := q.SourceSecretDeleteEnded(ctx, name); err != nil {
			return err
		}
		if err := insertProofs(ctx, q, name, proofs); err != nil {
			return err
		}
		details := proofDetails(proofs)
		details["overlap_s"] = overlap.Seconds()
		return audit(ctx, q, AuditEntry{Actor: actor, Action: "source.rotate", Subject: name, Details: details})
	})
	return sourceError("rotating the secrets of the webhook source", err)
}

// SourceFinish ends an overlap at once: what a rotation has replaced proves nothing
// any more, and is deleted. It tells how many those were.
func (db *DB) SourceFinish(ctx context.Context, actor, name string) (int64, error) {
	var ended int64
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if _, err := q.SourceLock(ctx, name); err != nil {
			return err
		}
		var err error
		if ended, err = q.SourceSecretDeleteEnding(ctx, name); err != nil {
			return err
		}
		return audit(ctx, q, AuditEntry{
			Actor: actor, Action: "source.finish", Subject: name, Details: map[string]any{"ended": ended},
		})
	})
	return ended, sourceError("ending the overlap of the webhook source", err)
}

// SourceRemove removes a source with all its proofs and counts, and records who
// did. One that there isn't is ErrNoSource.
func (db *DB) SourceRemove(ctx context.Context, actor, name string) error {
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		n, err := q.SourceDelete(ctx, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNoSource
		}
		if err := q.SourceTallyDelete(ctx, name); err != nil {
			return err
		}
		return audit(ctx, q, AuditEntry{Actor: actor, Action: "source.remove", Subject: name})
	})
	return sourceError("removing the webhook source", err)
}

func sourceError(doing string, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrSourceKind):
		return err
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, ErrNoSource):
		return ErrNoSource
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// AddSourceTallies adds to what came from sources: all of it, or nothing if there
// is an error. What came from one that was removed is forgotten.
func (db *DB) AddSourceTallies(ctx context.Context, tallies []SourceTally) error {
	// In one order, so that two servers don't wait for each other in a circle.
	tallies = slices.SortedFunc(slices.Values(tallies), func(a, b SourceTally) int { return strings.Compare(a.Source, b.Source) })
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		for _, t := range tallies {
			if err := q.SourceTallyAdd(ctx, dbsqlc.SourceTallyAddParams(t)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("counting what came from the webhook sources: %w", err)
	}
	return nil
}

// SourceTallies are what came from each source, as all servers have told it, by
// name.
func (db *DB) SourceTallies(ctx context.Context) ([]SourceTally, error) {
	rows, err := db.q.SourceTallyList(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading what came from the webhook sources: %w", err)
	}
	tallies := make([]SourceTally, len(rows))
	for i, row := range rows {
		tallies[i] = SourceTally(row)
	}
	return tallies, nil
}
