package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"strings"
	"sync"
)

// digest is a SHA-256, or an HMAC of it.
type digest = [sha256.Size]byte

// key signs with HMAC-SHA256. Its states are kept for the next delivery: to make
// one costs as much as to sign a short body.
type key struct{ states sync.Pool }

type state struct {
	mac hash.Hash
	sum []byte
}

func newKey(secret []byte) *key {
	return &key{states: sync.Pool{New: func() any {
		return &state{mac: hmac.New(sha256.New, secret), sum: make([]byte, 0, sha256.Size)}
	}}}
}

// match signs before and body, and tells the proofs, a bit each, that have this
// signature. How long it takes tells nothing of what a right one looks like.
func (k *key) match(s *signatures, standard bool, before, body []byte) (proofs uint64) {
	state := k.states.Get().(*state)
	defer k.states.Put(state)
	state.mac.Reset()
	state.mac.Write(before)
	state.mac.Write(body)
	state.sum = state.mac.Sum(state.sum[:0])
	for i := range s.sent {
		sent := &s.sent[i]
		if sent.standard == standard {
			proofs |= uint64(subtle.ConstantTimeCompare(sent.sum[:], state.sum)) << sent.proof
		}
	}
	return proofs
}

func newSigner(secret Secret) signer {
	s := signer{endsAt: secret.EndsAt, own: newKey([]byte(secret.Value))}
	s.standard = []*key{s.own}
	if decoded := decodedKey(secret.Value); len(decoded) > 0 {
		s.standard = append(s.standard, newKey(decoded))
	}
	return s
}

// decodedKey is what a secret stands for if it is base64; none if it isn't, or
// stands for nothing: anyone can sign with an empty key.
func decodedKey(secret string) []byte {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil {
		return nil
	}
	return decoded
}
