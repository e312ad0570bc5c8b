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
	keys, err := standardKeys(secret)
	if err != nil {
		return "", err
	}
	key := keys[0]
	if strings.HasPrefix(secret, secretPrefix) {
		key = keys[len(keys)-1]
	}
	return key.Sign(id, ts, body)
}

func sign(secret, before string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(before))
	mac.Write(body)
	return signaturePrefix + hex.EncodeToString(mac.Sum(nil))
}

// standardKeys are the keys that a secret may stand for: itself, and what it
// stands for if it is base64. Senders do both.
func standardKeys(secret string) ([]*standardwebhooks.Webhook, error) {
	raw, err := standardwebhooks.NewWebhookRaw([]byte(secret))
	if err != nil {
		return nil, err
	}
	keys := []*standardwebhooks.Webhook{raw}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil || len(key) == 0 { // anyone can sign with an empty key
		return keys, nil
	}
	decoded, err := standardwebhooks.NewWebhookRaw(key)
	if err != nil {
		return nil, err
	}
	return append(keys, decoded), nil
}

// checkSignatures checks what the headers alone tell of the signatures.
func checkSignatures(h http.Header, now time.Time) error {
	if err := checkBitHuman(h, now); err != nil {
		return err
	}
	return checkStandard(h, now)
}

func checkBitHuman(h http.Header, now time.Time) error {
	signatures := h[headerSignature]
	for _, signature := range signatures {
		if !strings.HasPrefix(signature, signaturePrefix) {
			return ErrSignature
		}
	}
	timestamps := h[headerTimestamp]
	if len(signatures) == 0 || len(timestamps) == 0 {
		return nil
	}
	return checkTimestamp(timestamps, now)
}

func checkStandard(h http.Header, now time.Time) error {
	signatures := h[headerStandardSignature]
	if len(signatures) == 0 {
		return nil
	}
	for _, signature := range signatures {
		if !strings.Contains(signature, standardPrefix) {
			return ErrSignature
		}
	}
	if ids := h[headerStandardID]; len(ids) != 1 || ids[0] == "" {
		return ErrSignature
	}
	return checkTimestamp(h[headerStandardTimestamp], now)
}

// checkTimestamp checks a signed timestamp against the window.
func checkTimestamp(values []string, now time.Time) error {
	at, err := unixSeconds(values)
	if err != nil {
		return err
	}
	if now.Sub(at).Abs() > timestampWindow {
		return ErrStale
	}
	return nil
}

// unixSeconds reads a header that is given once and has digits only.
func unixSeconds(values []string) (time.Time, error) {
	if len(values) != 1 || strings.Trim(values[0], "0123456789") != "" {
		return time.Time{}, ErrTimestamp
	}
	seconds, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil { // empty, or beyond an int64
		return time.Time{}, ErrTimestamp
	}
	return time.Unix(seconds, 0), nil
}
