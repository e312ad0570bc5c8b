package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport/store/internal/dbsqlc"
)

// Key is an API key as it is listed. The key itself is nowhere.
type Key struct {
	ID         int64
	Name       string
	Prefix     string   // how the key begins
	Scopes     []string // at least one
	Agents     []string // whose data it sees; empty: everybody's
	CreatedAt  time.Time
	ExpiresAt  *time.Time // nil: never
	LastUsedAt *time.Time // to about a minute; nil: never
	RevokedAt  *time.Time // nil: it stands
}

// NewKey is what a key is made of.
type NewKey struct {
	Name      string
	Prefix    string
	Hash      [32]byte // SHA-256 of the key
	Scopes    []string
	Agents    []string
	ExpiresAt *time.Time
}

// StandingKey is a key that is not revoked, as servers check it.
type StandingKey struct {
	ID        int64
	Name      string
	Hash      [32]byte
	Scopes    []string
	Agents    []string
	ExpiresAt *time.Time
}

// Of keys by their names.
var (
	ErrKeyExists = errors.New("there is a key of this name already")
	ErrNoKey     = errors.New("there is no key of this name that is not revoked")
)

// CreateKey keeps a new key, and records it, in one transaction. It is
// ErrKeyExists if one of its name is valid.
func (db *DB) CreateKey(ctx context.Context, k NewKey, actor string) error {
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		if err := q.KeyRetireExpired(ctx, k.Name); err != nil {
			return err
		}
		added, err := q.KeyInsert(ctx, dbsqlc.KeyInsertParams{
			Name: k.Name, Prefix: k.Prefix, Hash: k.Hash[:], Scopes: k.Scopes, Agents: orNone(k.Agents), ExpiresAt: k.ExpiresAt,
		})
		if err != nil {
			return err
		}
		if added == 0 {
			return ErrKeyExists
		}
		return audit(ctx, q, AuditEntry{Actor: actor, Action: "key.create", Subject: k.Name, Details: k.details()})
	})
	if err != nil {
		return fmt.Errorf("creating the key %s: %w", k.Name, err)
	}
	return nil
}

func (k *NewKey) details() map[string]any {
	details := map[string]any{"prefix": k.Prefix, "scopes": k.Scopes}
	if len(k.Agents) > 0 {
		details["agents"] = k.Agents
	}
	if k.ExpiresAt != nil {
		details["expires_at"] = k.ExpiresAt.UTC()
	}
	return details
}

// RevokeKey ends a key, and records it, in one transaction; running servers know
// it within seconds. It is ErrNoKey if none of the name stands.
func (db *DB) RevokeKey(ctx context.Context, name, actor string) error {
	err := db.inTx(ctx, func(q *dbsqlc.Queries) error {
		ended, err := q.KeyRevoke(ctx, name)
		if err != nil {
			return err
		}
		if ended == 0 {
			return ErrNoKey
		}
		return audit(ctx, q, AuditEntry{Actor: actor, Action: "key.revoke", Subject: name})
	})
	if err != nil {
		return fmt.Errorf("revoking the key %s: %w", name, err)
	}
	return nil
}

// Keys are all keys that there ever were, by name.
func (db *DB) Keys(ctx context.Context) ([]Key, error) {
	rows, err := db.q.KeyList(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	keys := make([]Key, len(rows))
	for i, row := range rows {
		keys[i] = Key(row)
	}
	return keys, nil
}

// StandingKeys are the keys that are not revoked, expired ones included, and the
// secret that sign-in cookies are sealed with; nil if the database has none. Slow
// reads don't keep it waiting: whoever makes them could stay in after their key is
// revoked.
func (db *DB) StandingKeys(ctx context.Context) ([]StandingKey, []byte, error) {
	rows, err := db.keep.KeyListStanding(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the keys: %w", err)
	}
	keys := make([]StandingKey, len(rows))
	for i, row := range rows {
		keys[i] = StandingKey{
			ID: row.ID, Name: row.Name, Hash: [32]byte(row.Hash), Scopes: row.Scopes, Agents: row.Agents, ExpiresAt: row.ExpiresAt,
		}
	}
	secret, err := db.keep.SigninSecretGet(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, fmt.Errorf("reading the secret of sign-ins: %w", err)
	}
	return keys, secret, nil
}

// TouchKeys notes when keys, by their ids, were used last.
func (db *DB) TouchKeys(ctx context.Context, used map[int64]time.Time) error {
	var params dbsqlc.KeyTouchManyParams
	for id, at := range used {
		params.Ids, params.UsedAts = append(params.Ids, id), append(params.UsedAts, at)
	}
	if err := db.q.KeyTouchMany(ctx, params); err != nil {
		return fmt.Errorf("noting the use of keys: %w", err)
	}
	return nil
}

// orNone is a list as SQL compares it: never null, of which no comparison is true.
func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
