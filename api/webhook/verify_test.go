package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	secret    = "your-webhook-secret"
	oldSecret = "the-secret-before"
	token     = "your-api-token"
	oldToken  = "the-token-before"

	stdSignature = "Webhook-Signature"
	stdTimestamp = "Webhook-Timestamp"
	stdID        = "Webhook-Id"
)

var signed = []byte(`{"event_type":"test","timestamp":1705312200.0}`)

func newVerifier(t testing.TB, secrets, tokens []string) *Verifier {
	t.Helper()
	v, err := NewVerifier(secrets, tokens)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// headers makes received headers of names and values in turn.
func headers(namesAndValues ...string) http.Header {
	h := http.Header{}
	for pair := range slices.Chunk(namesAndValues, 2) {
		h.Add(pair[0], pair[1])
	}
	return h
}

func join(all ...http.Header) http.Header {
	joined := http.Header{}
	for _, h := range all {
		for name, values := range h {
			joined[name] = append(joined[name], values...)
		}
	}
	return joined
}

func legacy(secret string) http.Header {
	return headers("X-bitHuman-Signature", SignLegacy(secret, signed))
}

func account(secret string, ts time.Time) http.Header {
	timestamp, signature := SignAccount(secret, ts, signed)
	return headers("X-BitHuman-Timestamp", timestamp, "X-BitHuman-Signature", signature)
}

func standard(secret string, ts time.Time) http.Header {
	signature, err := SignStandard(secret, "msg_1", ts, signed)
	if err != nil {
		panic(err)
	}
	return headers("webhook-id", "msg_1", "webhook-timestamp", strconv.FormatInt(ts.Unix(), 10), "webhook-signature", signature)
}

func bearer(token string) http.Header { return headers("Authorization", "Bearer "+token) }

func with(h http.Header, name, value string) http.Header {
	h.Set(name, value)
	return h
}

func without(h http.Header, name string) http.Header {
	h.Del(name)
	return h
}

// repeated has the header so many times.
func repeated(h http.Header, name string, times int) http.Header {
	h[name] = slices.Repeat(h[name], times)
	return h
}

// loosened sets bits of a base64 text that stand for nothing.
func loosened(h http.Header) http.Header {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	signature := []byte(h.Get(stdSignature))
	last := len(signature) - 2 // before the =
	signature[last] = alphabet[strings.IndexByte(alphabet, signature[last])|1]
	return with(h, stdSignature, string(signature))
}

func TestVerify(t *testing.T) {
	t.Parallel()
	now := time.Unix(1790607253, 0)
	verifiers := map[string]*Verifier{
		"open":    newVerifier(t, nil, nil),
		"secrets": newVerifier(t, []string{secret, oldSecret}, nil),
		"tokens":  newVerifier(t, nil, []string{token, oldToken}),
		"both":    newVerifier(t, []string{secret, oldSecret}, []string{token, oldToken}),
	}
	decodedSecret := base64.StdEncoding.EncodeToString([]byte("a key of bytes"))
	verifiers["base64"] = newVerifier(t, []string{decodedSecret}, nil)
	verifiers["whsec"] = newVerifier(t, []string{"whsec_" + decodedSecret}, nil)
	verifiers["whsec of nothing"] = newVerifier(t, []string{"whsec_"}, nil)
	standardOf := func(key string, raw bool) http.Header {
		wh, err := standardwebhooks.NewWebhook(key)
		if raw {
			wh, err = standardwebhooks.NewWebhookRaw([]byte(key))
		}
		if err != nil {
			t.Fatal(err)
		}
		signature, err := wh.Sign("msg_1", now, signed)
		if err != nil {
			t.Fatal(err)
		}
		return headers("webhook-id", "msg_1", "webhook-timestamp", "1790607253", "webhook-signature", signature)
	}
	ahead := func(d time.Duration) time.Time { return now.Add(d) }
	const window = 5 * time.Minute

	for _, delivery := range []struct {
		promise  string
		verifier string
		headers  http.Header
		want     error
	}{
		{"where nothing is configured, everything passes", "open", headers(), nil},
		{"where nothing is configured, the pasted signature passes", "open", headers("X-bitHuman-Signature", "sha256=..."), nil},
		{"where nothing is configured, any token passes", "open", bearer("wrong"), nil},
		{"where no secret is configured, signatures are ignored", "tokens", with(bearer(token), "X-bitHuman-Signature", "sha256=..."), nil},
		{"where no secret is configured, a signature is no proof", "tokens", legacy(secret), ErrNoProof},
		{"where no token is configured, a token is no proof", "secrets", bearer(token), ErrNoProof},
		{"a secret is no token", "both", bearer(secret), ErrToken},
		{"a token is no secret", "both", legacy(token), ErrSignature},
		{"a proof is needed where secrets are configured", "secrets", headers(), ErrNoProof},
		{"a proof is needed where tokens are configured", "tokens", headers(), ErrNoProof},
		{"a proof is needed where both are configured", "both", headers("Content-Type", "application/json"), ErrNoProof},

		{"a legacy signature is a proof", "secrets", legacy(secret), nil},
		{"a legacy signature by any secret is a proof", "secrets", legacy(oldSecret), nil},
		{"a legacy signature by another secret is none", "secrets", legacy("another"), ErrSignature},
		{"a legacy signature in upper case is a proof", "secrets",
			headers(headerSignature, signaturePrefix+strings.ToUpper(SignLegacy(secret, signed)[7:])), nil},
		{"a legacy signature of another body is none", "secrets", headers(headerSignature, SignLegacy(secret, signed[1:])), ErrSignature},
		{"an empty signature does not verify", "secrets", headers(headerSignature, ""), ErrSignature},
		{"a signature without its prefix does not verify", "secrets", headers(headerSignature, SignLegacy(secret, signed)[7:]), ErrSignature},
		{"a bare prefix does not verify", "secrets", headers(headerSignature, "sha256="), ErrSignature},
		{"a signature cut short does not verify", "secrets", headers(headerSignature, SignLegacy(secret, signed)[:70]), ErrSignature},
		{"the pasted signature does not verify", "secrets", headers(headerSignature, "sha256=..."), ErrSignature},
		{"the same signature twice is a proof", "secrets", join(legacy(secret), legacy(secret)), nil},
		{"every signature must verify, the second too", "secrets", join(legacy(secret), legacy("another")), ErrSignature},
		{"every signature must verify, the first too", "secrets", join(legacy("another"), legacy(secret)), ErrSignature},

		{"an account signature is a proof", "secrets", account(secret, now), nil},
		{"an account signature by any secret is a proof", "secrets", account(oldSecret, now), nil},
		{"an account signature by another secret is none", "secrets", account("another", now), ErrSignature},
		{"an account signature of exactly 5 minutes is valid", "secrets", account(secret, ahead(-window)), nil},
		{"an account signature of more than 5 minutes is stale", "secrets", account(secret, ahead(-window-time.Second)), ErrStale},
		{"an account signature exactly 5 minutes ahead is valid", "secrets", account(secret, ahead(window)), nil},
		{"an account signature more than 5 minutes ahead is stale", "secrets", account(secret, ahead(window+time.Second)), ErrStale},
		{"an account signature without its timestamp is none", "secrets", without(account(secret, now), headerTimestamp), ErrSignature},
		{"a legacy signature with a timestamp is none", "secrets", with(legacy(secret), headerTimestamp, "1790607253"), ErrSignature},
		{"an account signature with another timestamp is none", "secrets", with(account(secret, now), headerTimestamp, "1790607254"), ErrSignature},
		{"an empty timestamp is not readable", "secrets", with(legacy(secret), headerTimestamp, ""), ErrTimestamp},
		{"a timestamp with a fraction is not readable", "secrets", with(account(secret, now), headerTimestamp, "1790607253.0"), ErrTimestamp},
		{"a timestamp with a sign is not readable", "secrets", with(account(secret, now), headerTimestamp, "+1790607253"), ErrTimestamp},
		{"a timestamp beyond any integer is not readable", "secrets", with(account(secret, now), headerTimestamp, strings.Repeat("9", 30)), ErrTimestamp},
		{"a timestamp beyond any time is stale", "secrets", with(account(secret, now), headerTimestamp, "9223372036854775807"), ErrStale},
		{"two timestamps are not readable", "secrets", join(account(secret, now), headers(headerTimestamp, "1790607253")), ErrTimestamp},
		{"a timestamp alone is no proof", "secrets", headers(headerTimestamp, "1790607253"), ErrNoProof},
		{"a timestamp alone harms no token", "both", with(bearer(token), headerTimestamp, "0"), nil},

		{"a Standard Webhooks signature is a proof", "secrets", standard(secret, now), nil},
		{"a Standard Webhooks signature by any secret is a proof", "secrets", standard(oldSecret, now), nil},
		{"a Standard Webhooks signature by another secret is none", "secrets", standard("another", now), ErrSignature},
		{"the raw secret may be the key", "secrets", standardOf(secret, true), nil},
		{"a base64 secret may be the key as it is", "base64", standardOf(decodedSecret, true), nil},
		{"a base64 secret may stand for the key", "base64", standardOf(decodedSecret, false), nil},
		{"a whsec_ secret may stand for the key", "whsec", standardOf("whsec_"+decodedSecret, false), nil},
		{"a whsec_ secret may be the key as it is", "whsec", standardOf("whsec_"+decodedSecret, true), nil},
		{"a secret of nothing but its prefix is no empty key", "whsec of nothing", standardOf("", true), ErrSignature},
		{"one of several signatures suffices", "secrets",
			with(standard(secret, now), stdSignature, "v1,bm90IHRoaXM= v2,other "+standard(secret, now).Get(stdSignature)), nil},
		{"of several signatures one has to be right", "secrets", with(standard(secret, now), stdSignature, "v1,bm90IHRoaXM= v1,"), ErrSignature},
		{"every signature header must verify", "secrets", join(standard(secret, now), headers(stdSignature, "v1,bm90IHRoaXM=")), ErrSignature},
		{"an empty signature header does not verify", "secrets", with(standard(secret, now), stdSignature, ""), ErrSignature},
		{"a signature of another version does not verify", "secrets",
			with(standard(secret, now), stdSignature, strings.Replace(standard(secret, now).Get(stdSignature), "v1,", "v2,", 1)), ErrSignature},
		{"a signature whose last bits are not those of a signature is none", "secrets", loosened(standard(secret, now)), ErrSignature},
		{"more signatures than anybody sends are no proof", "secrets", with(standard(secret, now), stdSignature,
			strings.Repeat(standard(secret, now).Get(stdSignature)+" ", maxProofs+1)), ErrSignature},
		{"as many signatures as are allowed are", "secrets", with(standard(secret, now), stdSignature,
			strings.Repeat(standard(secret, now).Get(stdSignature)+" ", maxProofs)), nil},
		{"more signature headers than anybody sends are no proof", "secrets", repeated(legacy(secret), headerSignature, maxProofs+1), ErrSignature},
		{"as many signature headers as are allowed are", "secrets", repeated(legacy(secret), headerSignature, maxProofs), nil},
		{"of as many signature headers each has to be right", "secrets",
			join(repeated(legacy(secret), headerSignature, maxProofs-1), legacy("another")), ErrSignature},
		{"more tokens than anybody sends are no proof", "tokens", repeated(headers("X-API-Key", token), "X-Api-Key", maxProofs+1), ErrNoProof},
		{"as many tokens as are allowed are", "tokens", repeated(headers("X-API-Key", token), "X-Api-Key", maxProofs), nil},
		{"a signature with another id is none", "secrets", with(standard(secret, now), stdID, "msg_2"), ErrSignature},
		{"a signature without an id is none", "secrets", without(standard(secret, now), stdID), ErrSignature},
		{"a signature with an empty id is none", "secrets", with(standard(secret, now), stdID, ""), ErrSignature},
		{"a signature with two ids is none", "secrets", join(standard(secret, now), headers(stdID, "msg_1")), ErrSignature},
		{"a signature with another timestamp is none", "secrets", with(standard(secret, now), stdTimestamp, "1790607254"), ErrSignature},
		{"a signature without a timestamp is none", "secrets", without(standard(secret, now), stdTimestamp), ErrTimestamp},
		{"a Standard Webhooks timestamp with a fraction is not readable", "secrets", with(standard(secret, now), stdTimestamp, "1790607253.5"), ErrTimestamp},
		{"a Standard Webhooks signature of exactly 5 minutes is valid", "secrets", standard(secret, ahead(-window)), nil},
		{"a Standard Webhooks signature of more than 5 minutes is stale", "secrets", standard(secret, ahead(-window-time.Second)), ErrStale},
		{"a Standard Webhooks signature exactly 5 minutes ahead is valid", "secrets", standard(secret, ahead(window)), nil},
		{"a Standard Webhooks signature more than 5 minutes ahead is stale", "secrets", standard(secret, ahead(window+time.Second)), ErrStale},

		{"both kinds may be present", "secrets", join(account(secret, now), standard(oldSecret, now)), nil},
		{"of both kinds the sender's must verify", "secrets", join(account("another", now), standard(secret, now)), ErrSignature},
		{"of both kinds the standard's must verify", "secrets", join(legacy(secret), standard("another", now)), ErrSignature},

		{"a bearer token is a proof", "tokens", bearer(token), nil},
		{"any configured token is a proof", "tokens", bearer(oldToken), nil},
		{"another token is none", "tokens", bearer("another"), ErrToken},
		{"the scheme's case is free", "tokens", headers("Authorization", "bEARER  "+token), nil},
		{"another scheme carries no token", "tokens", headers("Authorization", "Basic "+token), ErrNoProof},
		{"a token needs its scheme", "tokens", headers("Authorization", token), ErrNoProof},
		{"an empty bearer token is none", "tokens", headers("Authorization", "Bearer "), ErrToken},
		{"a token may come in X-API-Key", "tokens", headers("X-API-Key", token), nil},
		{"a token may come in X-Webhook-Secret", "tokens", headers("X-Webhook-Secret", token), nil},
		{"a token's case matters", "tokens", headers("X-API-Key", strings.ToUpper(token)), ErrToken},
		{"a part of a token is none", "tokens", headers("X-API-Key", token[1:]), ErrToken},
		{"one right token in any header suffices", "tokens", join(bearer("another"), headers("X-API-Key", "x", "X-Webhook-Secret", token)), nil},
		{"one right token of several in a header suffices", "tokens", headers("X-API-Key", "x", "X-API-Key", token), nil},

		{"a token suffices where no signature is present", "both", bearer(token), nil},
		{"a signature suffices without a token", "both", legacy(secret), nil},
		{"a signature suffices beside a wrong token", "both", join(legacy(secret), bearer("another")), nil},
		{"a wrong signature fails whatever a token says", "both", join(legacy("another"), bearer(token)), ErrSignature},
		{"an empty signature fails whatever a token says", "both", join(headers(headerSignature, ""), bearer(token)), ErrSignature},
		{"a stale signature fails whatever a token says", "both", join(account(secret, ahead(-time.Hour)), bearer(token)), ErrStale},
		{"a wrong Standard Webhooks signature fails whatever a token says", "both", join(standard("another", now), bearer(token)), ErrSignature},
	} {
		t.Run(delivery.promise, func(t *testing.T) {
			t.Parallel()
			v := verifiers[delivery.verifier]
			if err := v.Verify(delivery.headers, signed, now); !errors.Is(err, delivery.want) {
				t.Errorf("Verify: %v, want %v", err, delivery.want)
			}
			if _, err := v.Screen(Delivery{Header: delivery.headers}, now); err != nil && !errors.Is(err, delivery.want) {
				t.Errorf("Screen: %v, want %v or none", err, delivery.want)
			}
		})
	}
}

func TestTheWindowIsExactToTheNanosecond(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, []string{secret}, nil)
	ts := time.Unix(1790607253, 0)
	for _, off := range []struct {
		by   time.Duration
		want error
	}{
		{5 * time.Minute, nil}, {5*time.Minute + 1, ErrStale},
		{-5 * time.Minute, nil}, {-5*time.Minute - 1, ErrStale},
	} {
		if err := v.Verify(account(secret, ts), signed, ts.Add(off.by)); !errors.Is(err, off.want) {
			t.Errorf("%v off: %v, want %v", off.by, err, off.want)
		}
	}
}

func TestScreenSparesTheBody(t *testing.T) {
	t.Parallel()
	now := time.Unix(1790607253, 0)
	both := newVerifier(t, []string{secret}, []string{token})
	for _, hopeless := range []struct {
		promise string
		headers http.Header
		want    error
	}{
		{"of a delivery without any proof", headers(), ErrNoProof},
		{"of a delivery with a wrong token", bearer("another"), ErrToken},
		{"of a delivery with a stale signature", account(secret, now.Add(-time.Hour)), ErrStale},
		{"of a delivery with a garbled timestamp", with(standard(secret, now), stdTimestamp, "now"), ErrTimestamp},
		{"of a delivery with an empty signature", headers(headerSignature, ""), ErrSignature},
		{"of a delivery with an empty Standard Webhooks signature", with(standard(secret, now), stdSignature, ""), ErrSignature},
	} {
		t.Run(hopeless.promise, func(t *testing.T) {
			t.Parallel()
			if _, err := both.Screen(Delivery{Header: hopeless.headers}, now); !errors.Is(err, hopeless.want) {
				t.Errorf("Screen: %v, want %v", err, hopeless.want)
			}
		})
	}
	t.Run("but not of one whose signature may verify", func(t *testing.T) {
		t.Parallel()
		if _, err := both.Screen(Delivery{Header: legacy("another")}, now); err != nil {
			t.Errorf("Screen: %v", err)
		}
	})
}

func TestNewVerifierTakesNoEmptyProof(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", " ", "\n", "a ", "\ta", "a\nb"} {
		if _, err := NewVerifier([]string{secret, bad}, nil); err == nil || !strings.Contains(err.Error(), "secret 2") {
			t.Errorf("secret %q: %v", bad, err)
		}
		if _, err := NewVerifier(nil, []string{bad}); err == nil || !strings.Contains(err.Error(), "token 1") {
			t.Errorf("token %q: %v", bad, err)
		}
	}
}

func TestIsOpen(t *testing.T) {
	t.Parallel()
	if !newVerifier(t, nil, nil).IsOpen() {
		t.Error("a proof is needed where none is configured")
	}
	if newVerifier(t, []string{secret}, nil).IsOpen() || newVerifier(t, nil, []string{token}).IsOpen() {
		t.Error("no proof is needed where one is configured")
	}
}

// The sums are of `printf … | openssl dgst -sha256 -hmac your-webhook-secret`.
func TestSigningIsAsDocumented(t *testing.T) {
	t.Parallel()
	if got, want := SignLegacy(secret, signed), "sha256=170d64b6695447fd0a38133ced95d787ff2a1feb1c18d1f19b1521ab85401ef9"; got != want {
		t.Errorf("SignLegacy = %s, want %s", got, want)
	}
	timestamp, signature := SignAccount(secret, time.Unix(1790607253, 999), signed)
	if want := "sha256=681aaa13d71ab74d44d37704bb14442071fb2db2f701613d2dbb400de9ccfeee"; timestamp != "1790607253" || signature != want {
		t.Errorf("SignAccount = %s, %s, want %s", timestamp, signature, want)
	}
}

func TestSignStandardIsReadByTheStandardsLibrary(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "your-webhook-secret"} {
		library, err := standardwebhooks.NewWebhook(key)
		if err != nil {
			library, err = standardwebhooks.NewWebhookRaw([]byte(key))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := library.VerifyIgnoringTimestamp(signed, standard(key, time.Unix(1790607253, 0))); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// isProven is the rule of Verify for one secret and one token, in other words.
func isProven(h http.Header, body []byte, now time.Time) bool {
	mac := func(parts ...string) []byte {
		m := hmac.New(sha256.New, []byte(secret))
		m.Write([]byte(strings.Join(append(parts, string(body)), ".")))
		return m.Sum(nil)
	}
	isFresh := func(text string) bool {
		seconds, err := strconv.ParseInt(text, 10, 64)
		return err == nil && seconds >= now.Unix()-300 && seconds <= now.Unix()+300
	}
	ours, isOurs := h["X-Bithuman-Signature"]
	theirs, isTheirs := h[stdSignature]
	if isOurs {
		want := mac()
		if ts, ok := h["X-Bithuman-Timestamp"]; ok {
			if want = mac(ts[0]); !isFresh(ts[0]) {
				return false
			}
		}
		if !strings.EqualFold(ours[0], "sha256="+hex.EncodeToString(want)) {
			return false
		}
	}
	if isTheirs {
		want := "v1," + base64.StdEncoding.EncodeToString(mac(h.Get(stdID), strings.TrimLeft(h.Get(stdTimestamp), "0")))
		if !isFresh(h.Get(stdTimestamp)) || !slices.Contains(strings.Fields(theirs[0]), want) {
			return false
		}
	}
	return isOurs || isTheirs || h.Get("X-API-Key") == token ||
		strings.HasSuffix(strings.TrimSpace(h.Get("Authorization")), " "+token)
}

func FuzzVerify(f *testing.F) {
	now := time.Unix(1790607253, 0)
	v := newVerifier(f, []string{secret}, []string{token})
	names := []string{headerSignature, headerTimestamp, stdSignature, stdTimestamp, stdID, "Authorization", "X-API-Key"}
	for _, h := range []http.Header{
		{}, legacy(secret), account(secret, now), standard(secret, now), bearer(token), headers("X-API-Key", token),
		join(legacy(secret), bearer("x")), join(account(secret, now), standard(secret, now)), account(secret, now.Add(-time.Hour)),
	} {
		f.Add(h.Get(names[0]), h.Get(names[1]), h.Get(names[2]), h.Get(names[3]), h.Get(names[4]), h.Get(names[5]), h.Get(names[6]), signed)
	}
	f.Fuzz(func(t *testing.T, signature, timestamp, standardSignature, standardTimestamp, id, authorization, key string, body []byte) {
		h := http.Header{}
		for i, value := range []string{signature, timestamp, standardSignature, standardTimestamp, id, authorization, key} {
			if value != "" {
				h.Set(names[i], value)
			}
		}
		_, early := v.Screen(Delivery{Header: h}, now)
		err := v.Verify(h, body, now)
		if early != nil && !errors.Is(err, early) {
			t.Fatalf("Screen says %v, Verify %v", early, err)
		}
		if err == nil && !isProven(h, body, now) {
			t.Fatalf("%v passes without a proof", h)
		}
	})
}
