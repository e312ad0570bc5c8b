package webhook

import (
	"crypto/rand"
	"crypto/subtle"
	"net/netip"
	"time"
)

// rules are a source as deliveries are compared with it.
type rules struct {
	name    string
	kinds   kindSet
	ranges  []netip.Prefix
	secrets []signer
	tokens  []HashedToken
	isDecoy bool // nothing is its
}

// signer is a secret, with all the keys that it may stand for.
type signer struct {
	endsAt   time.Time
	own      *key   // signs the sender's own two kinds
	standard []*key // sign Standard Webhooks
}

func newRules(s Source) *rules {
	r := &rules{name: s.Name, kinds: setOf(s.Kinds), ranges: s.Ranges, tokens: s.Tokens}
	for _, secret := range s.Secrets {
		r.secrets = append(r.secrets, newSigner(secret))
	}
	return r
}

// newDecoy signs with what nobody knows.
func newDecoy() *rules {
	r := newRules(Source{Secrets: []Secret{{Value: rand.Text()}}})
	r.isDecoy = true
	return r
}

func isLive(endsAt, now time.Time) bool { return endsAt.IsZero() || now.Before(endsAt) }

// isFrom reports whether a source may deliver from an address. One that can't be
// told is in no range.
func (r *rules) isFrom(client netip.Addr) bool {
	if len(r.ranges) == 0 {
		return true
	}
	for _, network := range r.ranges {
		if network.Contains(client) {
			return true
		}
	}
	return false
}

// signs reports whether signatures decide of a source's deliveries that have some.
func (r *rules) signs() bool { return len(r.secrets) > 0 }

// takesTokens reports whether a token can prove a delivery.
func (r *rules) takesTokens() bool { return len(r.tokens) > 0 && r.kinds.has(isToken) }

// knows reports whether one of the digests is that of a token. All pairs are
// compared: the time tells neither which is right nor how much of it.
func (r *rules) knows(digests []digest, now time.Time) bool {
	if !r.takesTokens() {
		return false
	}
	right := 0
	for i := range digests {
		for j := range r.tokens {
			if isLive(r.tokens[j].EndsAt, now) {
				right |= subtle.ConstantTimeCompare(digests[i][:], r.tokens[j].SHA256[:])
			}
		}
	}
	return right == 1
}

// hashes is how often a body is hashed to verify signatures.
func (r *rules) hashes(s *signatures, now time.Time) int {
	n := 0
	for _, secret := range r.secrets {
		if !isLive(secret.endsAt, now) {
			continue
		}
		if s.kinds&(isLegacy|isAccount) != 0 {
			n++
		}
		if s.kinds.has(isStandard) {
			n += len(secret.standard)
		}
	}
	return n
}

// verify reports whether every proof among the signatures is right. All secrets
// are tried, whatever the first one tells.
func (r *rules) verify(s *signatures, body []byte, now time.Time) bool {
	var right uint64
	for _, secret := range r.secrets {
		if !isLive(secret.endsAt, now) {
			continue
		}
		if s.kinds&(isLegacy|isAccount) != 0 {
			right |= secret.own.match(s, false, s.before, body)
		}
		if s.kinds.has(isStandard) {
			for _, key := range secret.standard {
				right |= key.match(s, true, s.standardBefore, body)
			}
		}
	}
	return right == 1<<s.proofs-1 && !r.isDecoy
}
