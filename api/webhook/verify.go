package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The reasons for which a delivery is not authentic: each is an answer 401.
var (
	ErrNoProof   = errors.New("no proof: sign the body with the webhook secret, or send the webhook token in Authorization: Bearer, X-API-Key or X-Webhook-Secret")
	ErrToken     = errors.New("the token is not a configured one: check the header against the webhook tokens")
	ErrSignature = errors.New("the signature does not match: check the webhook secret, and that the raw body is what is signed")
	ErrTimestamp = errors.New("the signature's timestamp is not readable: send unix seconds, digits only, once")
	ErrStale     = errors.New("the signature's timestamp is more than 5 minutes off: check the clocks")
)

// Verifier tells whether a delivery is authentic. It is safe for concurrent
// use.
//
// One secret serves every kind of signature, and that is safe: to pass one kind
// off as another, the border between the body and what is signed before it has
// to move, and what is then left as the body is no JSON object.
type Verifier struct {
	secrets  []string
	standard []*standardwebhooks.Webhook // the keys that the secrets may stand for
	tokens   [][sha256.Size]byte
}

// NewVerifier makes a Verifier of the configured secrets, which sign, and
// tokens, which are sent as they are. Any number of each may be valid at once,
// so that they can be rotated. With none at all, everything is authentic.
//
// It is an error if one is empty or has space around it: it would be no proof,
// or none that a header can carry.
func NewVerifier(secrets, tokens []string) (*Verifier, error) {
	v := &Verifier{}
	for i, secret := range secrets {
		if !isProper(secret) {
			return nil, fmt.Errorf("webhook secret %d is empty or has space around it: set it without", i+1)
		}
		keys, err := standardKeys(secret)
		if err != nil {
			return nil, fmt.Errorf("webhook secret %d: %w", i+1, err)
		}
		v.secrets = append(v.secrets, secret)
		v.standard = append(v.standard, keys...)
	}
	for i, token := range tokens {
		if !isProper(token) {
			return nil, fmt.Errorf("webhook token %d is empty or has space around it: set it without", i+1)
		}
		v.tokens = append(v.tokens, sha256.Sum256([]byte(token)))
	}
	return v, nil
}

func isProper(s string) bool { return s != "" && strings.TrimSpace(s) == s }

// Required reports whether a delivery needs a proof.
func (v *Verifier) Required() bool { return len(v.secrets) > 0 || len(v.tokens) > 0 }

// VerifyHeaders tells before the body is read whether a delivery can be
// authentic, at the time now: a token is right, or there are signatures that
// the body may verify. It costs no more than the headers are long.
//
// The error is one of [ErrNoProof], [ErrToken], [ErrSignature], [ErrTimestamp]
// and [ErrStale].
func (v *Verifier) VerifyHeaders(h http.Header, now time.Time) error {
	switch {
	case !v.Required():
		return nil
	case v.isSigned(h):
		return checkSignatures(h, now)
	default:
		return v.verifyToken(h)
	}
}

// Verify tells whether a delivery is authentic at the time now. body is the raw
// body, to the byte.
//
// Where a secret is configured, every signature that is present must verify,
// whatever a token says; a token suffices where none is present. Where no
// secret is configured, signatures are not looked at. The errors are those of
// [Verifier.VerifyHeaders].
func (v *Verifier) Verify(h http.Header, body []byte, now time.Time) error {
	if err := v.VerifyHeaders(h, now); err != nil {
		return err
	}
	if !v.isSigned(h) {
		return nil
	}
	if err := v.verifyBitHuman(h, body); err != nil {
		return err
	}
	return v.verifyStandard(h, body)
}

// isSigned reports whether there is a signature to verify.
func (v *Verifier) isSigned(h http.Header) bool {
	return len(v.secrets) > 0 &&
		(len(h[headerSignature]) > 0 || len(h[headerStandardSignature]) > 0)
}

// verifyBitHuman verifies the signatures of the sender's own two kinds, their
// hex digits in either case. Each secret signs once, however often a header is
// repeated.
func (v *Verifier) verifyBitHuman(h http.Header, body []byte) error {
	signatures := h[headerSignature]
	if len(signatures) == 0 {
		return nil
	}
	before := ""
	if timestamps := h[headerTimestamp]; len(timestamps) > 0 {
		before = timestamps[0] + "." // the text of the header is what is signed
	}
	var right []string
	for _, secret := range v.secrets {
		right = append(right, sign(secret, before, body))
	}
	for _, signature := range signatures {
		if !isAmong(right, strings.ToLower(signature)) {
			return ErrSignature
		}
	}
	return nil
}

// verifyStandard verifies the signatures of Standard Webhooks. A header may
// hold several, of which one has to be right: so a sender rotates its secret.
func (v *Verifier) verifyStandard(h http.Header, body []byte) error {
	headers := h[headerStandardSignature]
	if len(headers) == 0 {
		return nil
	}
	right, err := v.signStandard(h, body)
	if err != nil {
		return err
	}
	for _, header := range headers {
		isRight := func(signature string) bool { return isAmong(right, signature) }
		if !slices.ContainsFunc(strings.Fields(header), isRight) {
			return ErrSignature
		}
	}
	return nil
}

// signStandard makes the signatures that are right for a delivery.
func (v *Verifier) signStandard(h http.Header, body []byte) ([]string, error) {
	at, err := unixSeconds(h[headerStandardTimestamp])
	if err != nil {
		return nil, err
	}
	var right []string
	for _, key := range v.standard {
		signature, err := key.Sign(h.Get(headerStandardID), at, body)
		if err != nil {
			return nil, ErrSignature
		}
		right = append(right, signature)
	}
	return right, nil
}

// isAmong compares a signature with the right ones. How long it takes tells
// nothing of what a right one looks like.
func isAmong(right []string, signature string) bool {
	for _, r := range right {
		if hmac.Equal([]byte(r), []byte(signature)) {
			return true
		}
	}
	return false
}

// verifyToken looks for one right token in any of the headers that may carry
// one.
func (v *Verifier) verifyToken(h http.Header) error {
	sent := sentTokens(h)
	if len(v.tokens) == 0 || len(sent) == 0 {
		return ErrNoProof
	}
	valid := 0
	for _, token := range sent {
		valid |= v.matchToken(token)
	}
	if valid == 0 {
		return ErrToken
	}
	return nil
}

// matchToken is 1 for a right token, else 0. Digests have one length, and all
// of them are compared: the time tells neither a token's length nor which it is.
func (v *Verifier) matchToken(token string) int {
	digest := sha256.Sum256([]byte(token))
	valid := 0
	for i := range v.tokens {
		valid |= subtle.ConstantTimeCompare(digest[:], v.tokens[i][:])
	}
	return valid
}

func sentTokens(h http.Header) []string {
	var tokens []string
	for _, value := range h["Authorization"] {
		scheme, token, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimSpace(token))
		}
	}
	tokens = append(tokens, h["X-Api-Key"]...)
	return append(tokens, h["X-Webhook-Secret"]...)
}
