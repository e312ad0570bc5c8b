package webhook

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ErrAddress says that no source may deliver from where a delivery came from: it
// is an answer 403.
var ErrAddress = errors.New("deliveries are not taken from this address")

// The reasons for which a delivery is not authentic: each is an answer 401.
var (
	ErrNoProof   = errors.New("no proof: sign the body with the webhook secret, or send the webhook token in Authorization: Bearer, X-API-Key or X-Webhook-Secret")
	ErrToken     = errors.New("the token is not a configured one: check the header against the webhook tokens")
	ErrSignature = errors.New("the signature does not match: check the webhook secret, and that the raw body is what is signed")
	ErrTimestamp = errors.New("the signature's timestamp is not readable: send unix seconds, digits only, once")
	ErrStale     = errors.New("the signature's timestamp is more than 5 minutes off: check the clocks")
)

// Verifier tells whose a delivery is. It is safe for concurrent use.
//
// A delivery is proven if at least one source takes it by its own rules: it comes
// from the source's ranges, each signature that is present is of a kind that the
// source accepts and verifies with one of its secrets, whatever a token says; or
// no signature is present and a token is one of the source's. Of a source without
// secrets signatures are not looked at. Proofs of several sources don't add up.
//
// One secret serves every kind of signature, and that is safe: to pass one kind
// off as another, the border between the body and what is signed before it has
// to move, and what is then left as the body is no JSON object.
type Verifier struct {
	sources  []*rules
	anywhere bool   // each source may deliver from anywhere
	isOpen   bool   // everything is authentic
	decoy    *rules // stands for sources that don't exist
}

// NewVerifier makes a Verifier of one source, DefaultSource, with the configured
// secrets, which sign, and tokens, which are sent as they are. Any number of each
// may be valid at once, so that they can be rotated. With none at all, everything
// is authentic.
//
// It is an error if one is no proof: see CheckProof.
func NewVerifier(secrets, tokens []string) (*Verifier, error) {
	if len(secrets) == 0 && len(tokens) == 0 {
		return &Verifier{isOpen: true, decoy: newDecoy()}, nil
	}
	source, err := NewSource(DefaultSource, secrets, tokens)
	if err != nil {
		return nil, err
	}
	return VerifierOf([]Source{source})
}

// VerifierOf makes a Verifier of several sources. Where a delivery could be
// several ones', it is the first's. With none at all, nothing is authentic. It is
// an error if two have one name.
func VerifierOf(sources []Source) (*Verifier, error) {
	v := &Verifier{decoy: newDecoy(), anywhere: true}
	for _, s := range sources {
		if slices.ContainsFunc(v.sources, func(r *rules) bool { return r.name == s.Name }) {
			return nil, fmt.Errorf("two webhook sources have the name %q", s.Name)
		}
		v.sources = append(v.sources, newRules(s))
		v.anywhere = v.anywhere && len(s.Ranges) == 0
	}
	return v, nil
}

// IsOpen reports whether everything is authentic, since nothing is configured.
func (v *Verifier) IsOpen() bool { return v.isOpen }

// Delivery is of a delivery what comes before its body.
type Delivery struct {
	Source string     // the only one whose it may be; empty: any
	Client netip.Addr // where it came from; zero if that can't be told
	Header http.Header
}

// Claim is a delivery that may be authentic, as far as it can be told without its
// body.
type Claim struct {
	now        time.Time
	candidates []*rules // whose secrets may have signed it
	source     string   // whose it is, if that is known
	isProven   bool     // without the body
	signatures signatures
}

// Screen tells before the body is read whether a delivery can be authentic, at
// the time now: a token is right, or there are signatures that the body may
// verify. It costs no more than the headers are long.
//
// The error is one of [ErrAddress], [ErrNoProof], [ErrToken], [ErrSignature],
// [ErrTimestamp] and [ErrStale]. Where a delivery names its source, none of them
// tells whether that exists.
func (v *Verifier) Screen(d Delivery, now time.Time) (*Claim, error) {
	if v.isOpen && (d.Source == "" || d.Source == DefaultSource) {
		return &Claim{isProven: true}, nil
	}
	near := v.near(d.Client)
	if len(near) == 0 && len(v.sources) > 0 {
		return nil, ErrAddress
	}
	meant := near
	if d.Source != "" {
		meant = filter(near, func(r *rules) bool { return r.name == d.Source })
	}
	isSigned, digests := isSigned(d.Header), sentTokens(d.Header)
	for _, r := range meant {
		if (!isSigned || !r.signs()) && r.knows(digests, now) {
			return &Claim{isProven: true, source: r.name}, nil
		}
	}
	if isSigned && (d.Source != "" || slices.ContainsFunc(meant, (*rules).signs)) {
		return v.claimSigned(d, meant, now)
	}
	if len(digests) > 0 && (d.Source != "" || slices.ContainsFunc(meant, (*rules).takesTokens)) {
		return nil, ErrToken
	}
	return nil, ErrNoProof
}

// claimSigned is for what signatures decide. A decoy has the work of a source
// that doesn't exist, or has no such secret.
func (v *Verifier) claimSigned(d Delivery, meant []*rules, now time.Time) (*Claim, error) {
	c := &Claim{now: now}
	if err := c.signatures.parse(d.Header, now); err != nil {
		return nil, err
	}
	c.candidates = filter(meant, func(r *rules) bool { return r.signs() && r.kinds.has(c.signatures.kinds) })
	switch {
	case len(c.candidates) > 0:
		return c, nil
	case d.Source == "":
		return nil, ErrSignature
	}
	c.candidates = []*rules{v.decoy}
	return c, nil
}

// near are the sources that may deliver from an address.
func (v *Verifier) near(client netip.Addr) []*rules {
	if v.anywhere {
		return v.sources
	}
	client = client.Unmap().WithZone("")
	return filter(v.sources, func(r *rules) bool { return r.isFrom(client) })
}

// filter is the slice itself where all are kept, as is common: that costs nothing.
func filter(all []*rules, keep func(*rules) bool) []*rules {
	first := slices.IndexFunc(all, func(r *rules) bool { return !keep(r) })
	if first < 0 {
		return all
	}
	kept := slices.Clone(all[:first])
	for _, r := range all[first:] {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

// IsProven reports whether the delivery is authentic, whatever its body.
func (c *Claim) IsProven() bool { return c.isProven }

// Hashes is how often Verify hashes the body: once for each secret that may have
// signed it, and once more for a secret that may stand for two keys.
func (c *Claim) Hashes() int {
	n := 0
	for _, r := range c.candidates {
		n += r.hashes(&c.signatures, c.now)
	}
	return n
}

// Verify tells whose the delivery is, of its raw body, to the byte. The name is
// empty where none is configured, so that everything is authentic. The error is
// [ErrSignature].
func (c *Claim) Verify(body []byte) (source string, err error) {
	if c.isProven {
		return c.source, nil
	}
	err = ErrSignature
	for _, r := range c.candidates { // all of them, whichever it is
		if r.verify(&c.signatures, body, c.now) && err != nil {
			source, err = r.name, nil
		}
	}
	return source, err
}

// Verify tells of a delivery whose body is at hand whether it is authentic at the
// time now, from anywhere. The errors are those of [Verifier.Screen].
func (v *Verifier) Verify(h http.Header, body []byte, now time.Time) error {
	claim, err := v.Screen(Delivery{Header: h}, now)
	if err != nil {
		return err
	}
	_, err = claim.Verify(body)
	return err
}

// sentTokens are the digests of the tokens in any of the headers that may carry
// one; none if they are more than anybody sends.
func sentTokens(h http.Header) []digest {
	var sent []digest
	add := func(token string) {
		if len(sent) <= maxProofs {
			sent = append(sent, sha256.Sum256([]byte(token)))
		}
	}
	for _, value := range h["Authorization"] {
		if scheme, token, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			add(strings.TrimSpace(token))
		}
	}
	for _, token := range h["X-Api-Key"] {
		add(token)
	}
	for _, token := range h["X-Webhook-Secret"] {
		add(token)
	}
	if len(sent) > maxProofs {
		return nil
	}
	return sent
}
