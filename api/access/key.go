package access

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"strings"
)

// A key is rpt_, 256 random bits as 43 digits to the base of 62, and the CRC-32
// (IEEE) of these digits as 6 more. By its form a scanner knows one that has got
// into a repository, and whatever else is sent is told apart without a look-up.
const (
	keyBegin    = "rpt_"
	digits62    = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" // as big.Int.Text has them
	secretChars = 43
	sumChars    = 6
	keyChars    = len(keyBegin) + secretChars + sumChars
	prefixChars = len(keyBegin) + 6
)

// Hash is the SHA-256 of a key: what is stored of it. With 256 random bits in the
// key, nothing slower is needed.
type Hash [sha256.Size]byte

// NewKey makes a key.
func NewKey() string {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // it never fails
	secret := base62(new(big.Int).SetBytes(random), secretChars)
	return keyBegin + secret + checksum(secret)
}

// IsKey reports whether a text has the form of a key.
func IsKey(text string) bool {
	if len(text) != keyChars || !strings.HasPrefix(text, keyBegin) || strings.Trim(text[len(keyBegin):], digits62) != "" {
		return false
	}
	secret := text[len(keyBegin) : len(keyBegin)+secretChars]
	return text[len(keyBegin)+secretChars:] == checksum(secret)
}

// HashOf is what a key is looked up by.
func HashOf(key string) Hash { return sha256.Sum256([]byte(key)) }

// PrefixOf is what may be shown of a key, to recognise it by: 36 of its bits at most.
func PrefixOf(key string) string { return key[:min(prefixChars, len(key))] }

func checksum(secret string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(secret)))), sumChars)
}

func base62(n *big.Int, width int) string {
	text := n.Text(62)
	return strings.Repeat("0", width-len(text)) + text
}
