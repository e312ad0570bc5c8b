package api

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"rapport/api/access"
	"rapport/store"
)

// How the keys are kept in memory. What a stranger sends can make the database
// work once in keysPause at most.
const (
	keysMaxAge   = 2 * time.Second // a revoked key is let in for so long at most
	keysPause    = time.Second     // between two reads of the keys
	keysTimeout  = time.Second     // of a read
	keysWaiting  = 64              // requests with an unknown key that wait for the next read
	keysUnknown  = 4096            // keys that are known to be none
	keyUseEvery  = time.Minute     // a key's use is noted so often at most
	keyUsesEvery = 5 * time.Second // uses are written so often at most
)

// Keys are the API keys of the database, as a server knows them. They are read
// when somebody asks and what is known is older than keysMaxAge; where the database
// can't be asked, what was known last goes on. They may be used by many goroutines.
type Keys struct {
	db     *store.DB
	logger *slog.Logger

	mu       sync.Mutex // guards all below
	set      *keySet    // nil: nothing is known yet
	reading  *keysRead  // the one that is under way; nil if none is
	readAt   time.Time  // when the last one began, or will
	failedAt time.Time  // when the last one failed; zero if it didn't
	waiting  int
	unknown  map[access.Hash]bool // keys are random: what is none will never be one
	noted    map[int64]time.Time  // when the use of a key was noted last
	used     map[int64]time.Time  // and is still to be written
}

// keySet is what one read of the keys has found. It never changes.
type keySet struct {
	keys   map[access.Hash]*apiKey
	sealer cipher.AEAD // of sign-in cookies; nil if there is no secret
	asOf   time.Time   // it has all that was committed by then
}

type apiKey struct {
	id        int64
	hash      access.Hash
	who       access.Identity
	expiresAt *time.Time
}

func (k *apiKey) hasExpired(now time.Time) bool {
	return k.expiresAt != nil && !now.Before(*k.expiresAt)
}

// keysRead is a read of the keys.
type keysRead struct {
	asOf time.Time
	done chan struct{} // closed at its end
	err  error         // once it is
}

// NewKeys knows nothing yet. Run, which must be running, writes down when keys
// are used.
func NewKeys(db *store.DB, logger *slog.Logger) *Keys {
	return &Keys{
		db: db, logger: logger, unknown: make(map[access.Hash]bool),
		noted: make(map[int64]time.Time), used: make(map[int64]time.Time),
	}
}

// Any reports whether there is any key that is not revoked. It is an error if
// that can't be known.
func (k *Keys) Any(ctx context.Context) (bool, error) {
	set, err := k.newerThan(ctx, time.Now())
	if err != nil {
		return false, err
	}
	return len(set.keys) > 0, nil
}

// current is what is known, and no older than keysMaxAge if the database answers;
// nil if nothing is known yet.
func (k *Keys) current(ctx context.Context) *keySet {
	least := time.Now().Add(-keysMaxAge)
	k.mu.Lock()
	set := k.set
	isAway := k.failedAt.After(least)
	if isAway {
		k.read() // nobody waits for it
	}
	k.mu.Unlock()
	if isAway || set != nil && set.asOf.After(least) {
		return set
	}
	if newer, err := k.newerThan(ctx, least); err == nil {
		return newer
	}
	return set
}

// last is what is known, without waiting for anything newer; nil if nothing is.
func (k *Keys) last() *keySet {
	least := time.Now().Add(-keysMaxAge)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set == nil || k.set.asOf.Before(least) {
		k.read() // for the next one who asks
	}
	return k.set
}

// newerThan is a set that has all that was committed by a time.
func (k *Keys) newerThan(ctx context.Context, least time.Time) (*keySet, error) {
	for {
		k.mu.Lock()
		if k.set != nil && k.set.asOf.After(least) {
			defer k.mu.Unlock()
			return k.set, nil
		}
		reading := k.read()
		k.mu.Unlock()
		select {
		case <-reading.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if reading.err != nil && reading.asOf.After(least) {
			return nil, reading.err
		}
	}
}

// read is the read that is under way, or one that begins, keysPause after the one
// before at the earliest. mu is held.
func (k *Keys) read() *keysRead {
	if k.reading != nil {
		return k.reading
	}
	asOf := time.Now()
	if next := k.readAt.Add(keysPause); next.After(asOf) {
		asOf = next
	}
	k.readAt = asOf
	k.reading = &keysRead{asOf: asOf, done: make(chan struct{})}
	go k.finish(k.reading)
	return k.reading
}

func (k *Keys) finish(reading *keysRead) {
	time.Sleep(time.Until(reading.asOf))
	ctx, cancel := context.WithTimeout(context.Background(), keysTimeout)
	defer cancel()
	set, err := k.load(ctx, reading.asOf)
	if err != nil {
		k.logger.Debug("the API keys could not be read", "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.set, k.failedAt = set, time.Time{}
	} else {
		k.failedAt = time.Now()
	}
	reading.err, k.reading = err, nil
	close(reading.done)
}

func (k *Keys) load(ctx context.Context, asOf time.Time) (*keySet, error) {
	rows, secret, err := k.db.StandingKeys(ctx)
	if err != nil {
		return nil, err
	}
	set := &keySet{keys: make(map[access.Hash]*apiKey, len(rows)), asOf: asOf}
	for _, row := range rows {
		key := &apiKey{id: row.ID, hash: row.Hash, expiresAt: row.ExpiresAt, who: access.Identity{Name: row.Name, Agents: row.Agents}}
		for _, scope := range row.Scopes {
			key.who.Scopes = append(key.who.Scopes, access.Scope(scope))
		}
		set.keys[key.hash] = key
	}
	if secret != nil {
		block, err := aes.NewCipher(secret)
		if err != nil {
			return nil, fmt.Errorf("the secret of sign-ins: %w", err)
		}
		if set.sealer, err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("the secret of sign-ins: %w", err)
		}
	}
	return set, nil
}

// find is the key that was sent, expired or not; nil if it is none. It reports
// false if that can't be told now.
func (k *Keys) find(ctx context.Context, sent string) (key *apiKey, known bool) {
	hash := access.HashOf(sent)
	set := k.current(ctx)
	if set == nil {
		return nil, false
	}
	if key := set.find(hash); key != nil {
		return key, true
	}
	// It may be newer than what is known.
	if !k.mayWait(hash) {
		return nil, true
	}
	newer, err := k.newerThan(ctx, time.Now())
	k.mu.Lock()
	defer k.mu.Unlock()
	k.waiting--
	if err != nil {
		return nil, false
	}
	if key := newer.find(hash); key != nil {
		return key, true
	}
	if len(k.unknown) >= keysUnknown {
		clear(k.unknown)
	}
	k.unknown[hash] = true
	return nil, true
}

// mayWait reports whether a request with an unknown key may wait for the next
// read: not with one that is known to be none, and not where many wait already.
func (k *Keys) mayWait(hash access.Hash) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.unknown[hash] || k.waiting >= keysWaiting {
		return false
	}
	k.waiting++
	return true
}

// find compares digests in constant time: how long it takes to find one tells of
// the digest alone, from which nobody comes to a key.
func (s *keySet) find(hash access.Hash) *apiKey {
	key := s.keys[hash]
	if key == nil || subtle.ConstantTimeCompare(key.hash[:], hash[:]) != 1 {
		return nil
	}
	return key
}

// touch notes that a key is used.
func (k *Keys) touch(id int64, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now.Sub(k.noted[id]) >= keyUseEvery {
		k.noted[id], k.used[id] = now, now
	}
}

// Run writes down when keys were used, until the context ends.
func (k *Keys) Run(ctx context.Context) error {
	tick := time.NewTicker(keyUsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.writeUses(ctx)
		case <-ctx.Done():
			k.writeUses(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// writeUses leaves for the next time what the database doesn't take.
func (k *Keys) writeUses(ctx context.Context) {
	k.mu.Lock()
	used := k.used
	k.used = make(map[int64]time.Time)
	k.mu.Unlock()
	if len(used) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	if err := k.db.TouchKeys(ctx, used); err != nil {
		k.logger.Debug("the use of keys could not be written down", "error", err)
		k.mu.Lock()
		defer k.mu.Unlock()
		for id, at := range used {
			if k.used[id].Before(at) {
				k.used[id] = at
			}
		}
	}
}
