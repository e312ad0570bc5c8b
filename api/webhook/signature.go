package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// timestampWindow is how far a signed timestamp may be from now, both ways.
// Exactly that far is still valid.
const timestampWindow = 5 * time.Minute

// The headers, in the canonical spelling in which net/http keeps them: they are
// looked up as they are, for each delivery. The sender's legacy and account
// generations sign under one header; that there is a timestamp tells them apart.
const (
	headerSignature         = "X-Bithuman-Signature"
	headerTimestamp         = "X-Bithuman-Timestamp"
	headerStandardID        = "Webhook-Id"
	headerStandardTimestamp = "Webhook-Timestamp"
	headerStandardSignature = "Webhook-Signature"
)

const (
	signaturePrefix = "sha256="
	standardPrefix  = "v1,"
	secretPrefix    = "whsec_"
)

// SignLegacy is the X-BitHuman-Signature of the legacy generation.
func SignLegacy(secret string, body []byte) string {
	return sign(secret, "", body)
}

// SignAccount makes the X-BitHuman-Timestamp and X-BitHuman-Signature of the
// account generation.
func SignAccount(secret string, ts time.Time, body []byte) (timestamp, signature string) {
	timestamp = strconv.FormatInt(ts.Unix(), 10)
	return timestamp, sign(secret, timestamp+".", body)
}

// SignStandard is the webhook-signature of Standard Webhooks, for the given
// webhook-id and the webhook-timestamp of ts in unix seconds. The key is the
// secret as it is, or what its base64 stands for if it starts with whsec_.
func SignStandard(secret, id string, ts time.Time, body []byte) (string, error) {
	raw := []byte(secret)
	if decoded := decodedKey(secret); len(decoded) > 0 && strings.HasPrefix(secret, secretPrefix) {
		raw = decoded
	}
	key, err := standardwebhooks.NewWebhookRaw(raw)
	if err != nil {
		return "", err
	}
	return key.Sign(id, ts, body)
}

func sign(secret, before string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(before))
	mac.Write(body)
	return signaturePrefix + hex.EncodeToString(mac.Sum(nil))
}

// maxProofs bounds how many signatures, and how many tokens, one delivery may
// carry: each is compared with every configured one.
const maxProofs = 64

// signatures are what a delivery's headers have of them.
type signatures struct {
	kinds          kindSet
	before         []byte // what the sender's own kinds sign before the body
	standardBefore []byte // what Standard Webhooks sign before the body
	proofs         int    // the headers with a signature: every one must be right
	sent           []signature
	few            [2]signature // room for those of most deliveries
}

// signature is one that was sent; of those of one proof, one has to be right.
type signature struct {
	sum      digest
	proof    int
	standard bool
}

func isSigned(h http.Header) bool {
	return len(h[headerSignature]) > 0 || len(h[headerStandardSignature]) > 0
}

// parse reads all signatures, and checks what the headers alone tell of them.
func (s *signatures) parse(h http.Header, now time.Time) error {
	s.sent = s.few[:0]
	if len(h[headerSignature])+len(h[headerStandardSignature]) > maxProofs {
		return ErrSignature
	}
	if err := s.parseOwn(h, now); err != nil {
		return err
	}
	return s.parseStandard(h, now)
}

// parseOwn reads those of the sender's own two kinds, their hex digits in either
// case.
func (s *signatures) parseOwn(h http.Header, now time.Time) error {
	values := h[headerSignature]
	if len(values) == 0 {
		return nil
	}
	for _, value := range values {
		digits, found := strings.CutPrefix(value, signaturePrefix)
		one := signature{proof: s.proofs}
		if !found || len(digits) != hex.EncodedLen(len(one.sum)) {
			return ErrSignature
		}
		if _, err := hex.Decode(one.sum[:], []byte(digits)); err != nil {
			return ErrSignature
		}
		s.sent = append(s.sent, one)
		s.proofs++
	}
	timestamps := h[headerTimestamp]
	if len(timestamps) == 0 {
		s.kinds |= isLegacy
		return nil
	}
	if _, err := checkTimestamp(timestamps, now); err != nil {
		return err
	}
	s.kinds |= isAccount
	s.before = []byte(timestamps[0] + ".") // the text of the header is what is signed
	return nil
}

// parseStandard reads those of Standard Webhooks. A header may hold several, of
// which one has to be right: so a sender rotates its secret.
func (s *signatures) parseStandard(h http.Header, now time.Time) error {
	values := h[headerStandardSignature]
	if len(values) == 0 {
		return nil
	}
	for _, value := range values {
		before := len(s.sent)
		for text := range strings.FieldsSeq(value) {
			one := signature{proof: s.proofs, standard: true}
			if readStandard(&one.sum, text) {
				s.sent = append(s.sent, one)
			}
		}
		if len(s.sent) == before || len(s.sent) > maxProofs {
			return ErrSignature
		}
		s.proofs++
	}
	ids := h[headerStandardID]
	if len(ids) != 1 || ids[0] == "" {
		return ErrSignature
	}
	at, err := checkTimestamp(h[headerStandardTimestamp], now)
	if err != nil {
		return err
	}
	s.kinds |= isStandard
	s.standardBefore = append(strconv.AppendInt([]byte(ids[0]+"."), at, 10), '.')
	return nil
}

// standardEncoding has one text for each signature.
var standardEncoding = base64.StdEncoding.Strict()

// readStandard reads a signature such as v1,<base64>; of other versions, none.
func readStandard(sum *digest, text string) bool {
	encoded, found := strings.CutPrefix(text, standardPrefix)
	if !found || len(encoded) != standardEncoding.EncodedLen(len(sum)) {
		return false
	}
	var decoded [sha256.Size + 1]byte // as DecodedLen has it for the padding
	n, err := standardEncoding.Decode(decoded[:], []byte(encoded))
	if err != nil || n != len(sum) {
		return false
	}
	copy(sum[:], decoded[:])
	return true
}

// checkTimestamp reads a signed timestamp, in unix seconds, and checks it against
// the window.
func checkTimestamp(values []string, now time.Time) (int64, error) {
	seconds, err := unixSeconds(values)
	if err != nil {
		return 0, err
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > timestampWindow {
		return 0, ErrStale
	}
	return seconds, nil
}

// unixSeconds reads a header that is given once and has digits only.
func unixSeconds(values []string) (int64, error) {
	if len(values) != 1 || strings.Trim(values[0], "0123456789") != "" {
		return 0, ErrTimestamp
	}
	seconds, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil { // empty, or beyond an int64
		return 0, ErrTimestamp
	}
	return seconds, nil
}
