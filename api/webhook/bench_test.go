package webhook

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// BenchmarkVerify is what a proof costs: of one secret, as is common, and of many
// sources, right and wrong.
func BenchmarkVerify(b *testing.B) {
	now := time.Unix(1790607253, 0)
	body := bytes.Repeat([]byte("x"), 300)
	one := newVerifier(b, []string{secret}, []string{token})
	many := manySources(b, 50)
	timestamp, signature := SignAccount(secret, now, body)
	standardSignature, err := SignStandard(secret, "msg_1", now, body)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		verifier *Verifier
		headers  http.Header
		proven   bool
	}{
		{"legacy", one, headers(headerSignature, SignLegacy(secret, body)), true},
		{"account", one, headers(headerTimestamp, timestamp, headerSignature, signature), true},
		{"standard", one, headers(stdID, "msg_1", stdTimestamp, "1790607253", stdSignature, standardSignature), true},
		{"token", one, bearer(token), true},
		{"wrong signature", one, headers(headerSignature, SignLegacy("another", body)), false},
		{"wrong token", one, bearer("another"), false},
		{"no proof", one, headers(), false},
		{"50 sources, legacy", many, headers(headerSignature, SignLegacy("secret-49", body)), true},
		{"50 sources, wrong signature", many, headers(headerSignature, SignLegacy("another", body)), false},
		{"50 sources, wrong token", many, bearer("another"), false},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.verifier.Verify(c.headers, body, now); (err == nil) != c.proven {
					b.Fatal(err)
				}
			}
		})
	}
}

func manySources(t testing.TB, n int) *Verifier {
	t.Helper()
	var sources []Source
	for i := range n {
		s, err := NewSource(fmt.Sprint("source-", i), []string{fmt.Sprint("secret-", i)}, []string{fmt.Sprint("token-", i)})
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, s)
	}
	v, err := VerifierOf(sources)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
