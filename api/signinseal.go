package api

import (
	"encoding/base64"
	"encoding/binary"
	"time"
)

// sealedFor tells what a seal is of, and its version: nothing else that the secret
// may seal one day opens as a sign-in.
var sealedFor = []byte("rapport sign-in 1")

// seal makes the value of a cookie: the key and when the sign-in ends, in AES-GCM
// under the secret that all servers share. So a cookie is no key, and nobody makes one
// of what the database holds: of keys it has digests only.
func (s *keySet) seal(key string, until time.Time) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	return base64.RawURLEncoding.EncodeToString(s.sealer.Seal(nil, nil, append(plain, key...), sealedFor))
}

// open is the key in a cookie, unless it was tampered with or has ended.
func (s *keySet) open(cookie string, now time.Time) (string, bool) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil {
		return "", false
	}
	plain, err := s.sealer.Open(nil, nil, sealed, sealedFor)
	if err != nil || len(plain) < 8 {
		return "", false
	}
	until := time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)
	return string(plain[8:]), now.Before(until)
}
