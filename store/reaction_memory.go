package store

import (
	"context"
	"errors"
	"time"

	"rapport/store/internal/dbsqlc"
)

// RuleKey is a rule, and the hash of what it counts, or is throttled, by.
type RuleKey struct {
	Rule string
	Key  [16]byte
}

// RuleEntry is something that a rule has counted, or was let at.
type RuleEntry struct {
	RuleKey
	At           time.Time
	Position     int64
	ExpiresAt    time.Time    // from when on it may be forgotten
	Conversation Conversation // that it is of, and is erased with
}

// ruleKeys are the columns of some, for a query that numbers them.
func ruleKeys(keys []RuleKey) (ns []int64, rules []string, hashes [][]byte) {
	for i, key := range keys {
		ns, rules, hashes = append(ns, int64(i)), append(rules, key.Rule), append(hashes, key.Key[:])
	}
	return ns, rules, hashes
}

// Counted is when each of some keys was counted, in order: the newest limit at least.
func (tx *ReactionTx) Counted(ctx context.Context, keys []RuleKey, limit int) ([][]time.Time, error) {
	counted := make([][]time.Time, len(keys))
	if len(keys) == 0 {
		return counted, nil
	}
	params := dbsqlc.RuleCountListParams{MaxRows: int32(limit)}
	params.Ns, params.Rules, params.Keys = ruleKeys(keys)
	rows, err := tx.q.RuleCountList(ctx, params)
	for _, row := range rows {
		for range row.Entries {
			counted[row.N] = append(counted[row.N], row.At)
		}
	}
	return counted, err
}

// AddCounts notes entries.
func (tx *ReactionTx) AddCounts(ctx context.Context, entries []RuleEntry) error {
	if len(entries) == 0 {
		return nil
	}
	type place struct {
		RuleKey
		at       int64
		position int64
	}
	rows := make(map[place]int, len(entries))
	var params dbsqlc.RuleCountAddManyParams
	for i := range entries {
		e := &entries[i]
		at := place{e.RuleKey, e.At.UnixMicro(), e.Position}
		if row, twice := rows[at]; twice {
			params.Entries[row]++
			continue
		}
		rows[at] = len(params.Rules)
		params.Rules, params.Keys = append(params.Rules, e.Rule), append(params.Keys, e.Key[:])
		params.Ats, params.ExpiresAts = append(params.Ats, e.At), append(params.ExpiresAts, e.ExpiresAt)
		params.Positions, params.Entries = append(params.Positions, e.Position), append(params.Entries, 1)
		params.AgentIds = append(params.AgentIds, e.Conversation.AgentID)
		params.SessionIds = append(params.SessionIds, e.Conversation.SessionID)
	}
	return tx.q.RuleCountAddMany(ctx, params)
}

// TrimCounts forgets the entries of keys before a time each.
func (tx *ReactionTx) TrimCounts(ctx context.Context, before map[RuleKey]time.Time) error {
	if len(before) == 0 {
		return nil
	}
	var params dbsqlc.RuleCountTrimManyParams
	for key, at := range before {
		params.Rules, params.Keys, params.Befores = append(params.Rules, key.Rule), append(params.Keys, key.Key[:]), append(params.Befores, at)
	}
	return tx.q.RuleCountTrimMany(ctx, params)
}

// Throttled is when each of some keys was let last; zero if it never was.
func (tx *ReactionTx) Throttled(ctx context.Context, keys []RuleKey) ([]time.Time, error) {
	last := make([]time.Time, len(keys))
	if len(keys) == 0 {
		return last, nil
	}
	var params dbsqlc.RuleThrottleListParams
	params.Ns, params.Rules, params.Keys = ruleKeys(keys)
	rows, err := tx.q.RuleThrottleList(ctx, params)
	for _, row := range rows {
		last[row.N] = row.At
	}
	return last, err
}

// SetThrottled notes when keys were let, each key once.
func (tx *ReactionTx) SetThrottled(ctx context.Context, entries map[RuleKey]RuleEntry) error {
	if len(entries) == 0 {
		return nil
	}
	var params dbsqlc.RuleThrottleSetManyParams
	for key, e := range entries {
		params.Rules, params.Keys = append(params.Rules, key.Rule), append(params.Keys, key.Key[:])
		params.Ats, params.ExpiresAts = append(params.Ats, e.At), append(params.ExpiresAts, e.ExpiresAt)
		params.Positions = append(params.Positions, e.Position)
		params.AgentIds = append(params.AgentIds, e.Conversation.AgentID)
		params.SessionIds = append(params.SessionIds, e.Conversation.SessionID)
	}
	return tx.q.RuleThrottleSetMany(ctx, params)
}

// ReactionExpiry is what is too old to be remembered.
type ReactionExpiry struct {
	Now    time.Time // counts and throttles that expire up to then go
	Told   time.Time // sessions that were told up to then go
	Alerts time.Time // changes of alerts before then go
}

// expireRows are deleted at once.
const expireRows = 10_000

// ExpireReactions forgets what is too old. It needs nobody's lock: nobody asks for it any
// more.
func (db *DB) ExpireReactions(ctx context.Context, e ReactionExpiry) error {
	return errors.Join(
		untilFew(func() (int64, error) {
			return db.q.RuleCountExpire(ctx, dbsqlc.RuleCountExpireParams{Now: e.Now, MaxRows: expireRows})
		}),
		untilFew(func() (int64, error) {
			return db.q.RuleThrottleExpire(ctx, dbsqlc.RuleThrottleExpireParams{Now: e.Now, MaxRows: expireRows})
		}),
		untilFew(func() (int64, error) {
			return db.q.ToldExpire(ctx, dbsqlc.ToldExpireParams{Before: e.Told, MaxRows: expireRows})
		}),
		db.q.AlertChangeDrop(ctx, e.Alerts),
	)
}

// untilFew deletes until there is less than expireRows left to delete.
func untilFew(drop func() (int64, error)) error {
	for {
		if n, err := drop(); err != nil || n < expireRows {
			return err
		}
	}
}
