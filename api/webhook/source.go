package webhook

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of proof that a delivery is a source's.
type Kind string

// The kinds of proof.
const (
	Legacy   Kind = "legacy"   // X-BitHuman-Signature of the body
	Account  Kind = "account"  // X-BitHuman-Signature of X-BitHuman-Timestamp and the body
	Standard Kind = "standard" // webhook-signature of Standard Webhooks
	Token    Kind = "token"    // a token, as it is
)

// Kinds are all there are, in the order in which they are shown.
func Kinds() []Kind { return []Kind{Legacy, Account, Standard, Token} }

// ParseKinds reads a list such as legacy,token. It is an error if it names none,
// or one that doesn't exist.
func ParseKinds(list string) ([]Kind, error) {
	var kinds []Kind
	for name := range strings.SplitSeq(list, ",") {
		kind := Kind(strings.TrimSpace(name))
		if !slices.Contains(Kinds(), kind) {
			return nil, fmt.Errorf("%q is no kind of proof: there are legacy, account, standard and token", kind)
		}
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

// DefaultSource is the name of the source that the server's environment
// configures. No other has it.
const DefaultSource = "default"

var sourceName = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// CheckName tells why a name can't be that of a stored source.
func CheckName(name string) error {
	switch {
	case name == DefaultSource:
		return errors.New("the name default is that of the source that the environment configures: take another")
	case !sourceName.MatchString(name):
		return fmt.Errorf("%q can't be the name of a source: take 1 to 40 of a to z, 0 to 9 and -", name)
	}
	return nil
}

// Source is somebody who delivers, and how that is proven.
type Source struct {
	Name    string
	Kinds   []Kind         // of proof that are accepted; empty: all
	Secrets []Secret       // that sign
	Tokens  []HashedToken  // that are sent as they are
	Ranges  []netip.Prefix // that it may deliver from; empty: any
}

// Secret is one that signs, until it ends.
type Secret struct {
	Value  string
	EndsAt time.Time // from then on it signs no more; zero: never
}

// HashedToken is a token of which only the SHA-256 is known.
type HashedToken struct {
	SHA256 [sha256.Size]byte
	EndsAt time.Time // from then on it is none any more; zero: never
}

// HashToken makes a HashedToken that doesn't end.
func HashToken(token string) HashedToken { return HashedToken{SHA256: sha256.Sum256([]byte(token))} }

// CheckProof tells why a text can be neither secret nor token: it would be no
// proof, or none that a header can carry.
func CheckProof(text string) error {
	switch {
	case text == "" || strings.TrimSpace(text) != text:
		return errors.New("is empty or has space around it: set it without")
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("has a line break or another control character in it: it must be one line")
	}
	return nil
}

// NewSource makes a source of secrets and tokens that don't end, which accepts
// all kinds of proof from anywhere. It is an error if one of them is no proof: see
// CheckProof.
func NewSource(name string, secrets, tokens []string) (Source, error) {
	s := Source{Name: name}
	for i, secret := range secrets {
		if err := CheckProof(secret); err != nil {
			return Source{}, fmt.Errorf("webhook secret %d %w", i+1, err)
		}
		s.Secrets = append(s.Secrets, Secret{Value: secret})
	}
	for i, token := range tokens {
		if err := CheckProof(token); err != nil {
			return Source{}, fmt.Errorf("webhook token %d %w", i+1, err)
		}
		s.Tokens = append(s.Tokens, HashToken(token))
	}
	return s, nil
}

// kindSet is a set of kinds.
type kindSet uint8

const (
	isLegacy kindSet = 1 << iota
	isAccount
	isStandard
	isToken
)

var kindBits = map[Kind]kindSet{Legacy: isLegacy, Account: isAccount, Standard: isStandard, Token: isToken}

func setOf(kinds []Kind) kindSet {
	if len(kinds) == 0 {
		kinds = Kinds()
	}
	var set kindSet
	for _, kind := range kinds {
		set |= kindBits[kind]
	}
	return set
}

func (s kindSet) has(all kindSet) bool { return s&all == all }
