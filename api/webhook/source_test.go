package webhook

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	moment   = time.Unix(1790607253, 0)
	anywhere = netip.MustParseAddr("192.0.2.7")
)

func newSource(t testing.TB, name, secret, token string, kinds ...Kind) Source {
	t.Helper()
	var secrets, tokens []string
	if secret != "" {
		secrets = []string{secret}
	}
	if token != "" {
		tokens = []string{token}
	}
	s, err := NewSource(name, secrets, tokens)
	if err != nil {
		t.Fatal(err)
	}
	s.Kinds = kinds
	return s
}

func verifierOf(t testing.TB, sources ...Source) *Verifier {
	t.Helper()
	v, err := VerifierOf(sources)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// proved is whose a delivery of the signed body is.
func proved(v *Verifier, d Delivery, now time.Time) (string, error) {
	claim, err := v.Screen(d, now)
	if err != nil {
		return "", err
	}
	return claim.Verify(signed)
}

func from(ranges ...string) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, r := range ranges {
		prefixes = append(prefixes, netip.MustParsePrefix(r))
	}
	return prefixes
}

func TestEachKindOfProofIsOnlyForThoseWhoAcceptIt(t *testing.T) {
	t.Parallel()
	all := map[Kind]http.Header{
		Legacy: legacy(secret), Account: account(secret, moment), Standard: standard(secret, moment), Token: bearer(token),
	}
	for _, accepted := range Kinds() {
		v := verifierOf(t, newSource(t, "one", secret, token, accepted))
		for kind, sent := range all {
			t.Run(string(kind)+" where "+string(accepted)+" is accepted", func(t *testing.T) {
				t.Parallel()
				source, err := proved(v, Delivery{Header: sent}, moment)
				if kind == accepted && (err != nil || source != "one") {
					t.Errorf("%q, %v", source, err)
				}
				if kind != accepted && err == nil {
					t.Error("it is taken")
				}
			})
		}
		t.Run("a second signature of another kind beside "+string(accepted), func(t *testing.T) {
			t.Parallel()
			if accepted == Standard || accepted == Token {
				return
			}
			sent := join(all[accepted], standard(secret, moment))
			if _, err := proved(v, Delivery{Header: sent}, moment); !errors.Is(err, ErrSignature) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("no kinds are all kinds", func(t *testing.T) {
		t.Parallel()
		v := verifierOf(t, newSource(t, "one", secret, token))
		for kind, sent := range all {
			if _, err := proved(v, Delivery{Header: sent}, moment); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	})
}

func TestADeliveryIsTheSourcesWhoseRulesItMeets(t *testing.T) {
	t.Parallel()
	v := verifierOf(t,
		newSource(t, DefaultSource, "default-secret", "default-token"),
		newSource(t, "signs", secret, ""),
		newSource(t, "token", "", token),
		newSource(t, "both", "both-secret", "both-token"),
		newSource(t, "twin", secret, token),
	)
	for _, c := range []struct {
		promise string
		source  string
		headers http.Header
		want    string
		err     error
	}{
		{"a signature tells whose it is", "", legacy("both-secret"), "both", nil},
		{"a token tells whose it is", "", bearer("both-token"), "both", nil},
		{"of two with one secret it is the first's", "", legacy(secret), "signs", nil},
		{"of two with one token it is the first's", "", bearer(token), "token", nil},
		{"a named twin takes it too", "twin", legacy(secret), "twin", nil},
		{"the environment's source has a path as well", DefaultSource, legacy("default-secret"), DefaultSource, nil},
		{"a wrong signature fails, whatever a token of the same source says", "", join(legacy("x"), bearer("both-token")), "", ErrSignature},
		{"for a source without secrets signatures are not looked at", "", join(legacy("x"), bearer(token)), "token", nil},
		{"nor where it is named", "token", join(legacy("x"), bearer(token)), "token", nil},
		{"one source's token does not mend another's signature", "both", join(legacy("x"), bearer(token)), "", ErrSignature},
		{"proofs of two sources don't add up", "", join(legacy(secret), standard("both-secret", moment)), "", ErrSignature},
		{"two kinds of one source do", "", join(account("both-secret", moment), standard("both-secret", moment)), "both", nil},
		{"another source's secret is none where one is named", "both", legacy(secret), "", ErrSignature},
		{"another source's token is none where one is named", "both", bearer(token), "", ErrToken},
		{"a source that doesn't exist takes no secret", "none", legacy(secret), "", ErrSignature},
		{"a source that doesn't exist takes no token", "none", bearer(token), "", ErrToken},
		{"a stale signature fails", "", account(secret, moment.Add(-time.Hour)), "", ErrStale},
		{"a stale signature beside the token of a source without secrets is not looked at", "",
			join(account(secret, moment.Add(-time.Hour)), bearer(token)), "token", nil},
		{"nothing is no proof", "", headers(), "", ErrNoProof},
	} {
		t.Run(c.promise, func(t *testing.T) {
			t.Parallel()
			got, err := proved(v, Delivery{Source: c.source, Client: anywhere, Header: c.headers}, moment)
			if got != c.want || !errors.Is(err, c.err) {
				t.Errorf("%q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestNothingTellsWhichSourcesExist(t *testing.T) {
	t.Parallel()
	near := newSource(t, "near", secret, token)
	near.Ranges = from("192.0.2.0/24")
	far := newSource(t, "far", secret, token)
	far.Ranges = from("198.51.100.0/24")
	v := verifierOf(t, near, far, newSource(t, "signs", secret, ""), newSource(t, "token", "", token),
		newSource(t, "legacy-only", secret, "", Legacy))
	for name, wrong := range map[string]http.Header{
		"nothing": headers(), "a wrong token": bearer("wrong"), "a wrong signature": legacy("wrong"),
		"a wrong account signature": account("wrong", moment), "a wrong Standard Webhooks signature": standard("wrong", moment),
		"a malformed signature": headers(headerSignature, "sha256=..."), "a stale one": account("wrong", moment.Add(-time.Hour)),
		"a signature and a token": join(legacy("wrong"), bearer("wrong")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tell := func(source string) (hashes int, screened, verified error) {
				claim, err := v.Screen(Delivery{Source: source, Client: anywhere, Header: wrong}, moment)
				if err != nil {
					return 0, err, nil
				}
				_, verified = claim.Verify(signed)
				return claim.Hashes(), nil, verified
			}
			hashes, screened, verified := tell("none")
			for _, source := range []string{"near", "far", "signs", "token", "legacy-only", DefaultSource} {
				if h, s, v := tell(source); s != screened || v != verified || h != hashes {
					t.Errorf("%s: %v, %v, %d hashes; of a source that doesn't exist %v, %v, %d", source, s, v, h, screened, verified, hashes)
				}
			}
		})
	}
}

func TestARotationOverlaps(t *testing.T) {
	t.Parallel()
	end := moment.Add(time.Hour)
	rotated := newSource(t, "one", "new-secret", "new-token")
	rotated.Secrets = append([]Secret{{Value: "old-secret", EndsAt: end}}, rotated.Secrets...)
	rotated.Tokens = append([]HashedToken{{SHA256: HashToken("old-token").SHA256, EndsAt: end}}, rotated.Tokens...)
	v := verifierOf(t, rotated)
	for _, c := range []struct {
		promise string
		now     time.Time
		old     bool
	}{
		{"the old ones go on", end.Add(-time.Hour), true},
		{"to the last nanosecond", end.Add(-1), true},
		{"and no longer", end, false},
		{"nor later", end.Add(time.Hour), false},
	} {
		t.Run(c.promise, func(t *testing.T) {
			t.Parallel()
			for _, old := range []http.Header{
				legacy("old-secret"), account("old-secret", c.now), standard("old-secret", c.now), bearer("old-token"),
			} {
				if _, err := proved(v, Delivery{Header: old}, c.now); (err == nil) != c.old {
					t.Errorf("%v: %v", old, err)
				}
			}
			for _, fresh := range []http.Header{legacy("new-secret"), account("new-secret", c.now), bearer("new-token")} {
				if _, err := proved(v, Delivery{Header: fresh}, c.now); err != nil {
					t.Errorf("%v: %v", fresh, err)
				}
			}
		})
	}
	t.Run("a claim is judged by the time at which it came", func(t *testing.T) {
		t.Parallel()
		claim, err := v.Screen(Delivery{Header: legacy("old-secret")}, end.Add(-1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := claim.Verify(signed); err != nil {
			t.Error(err)
		}
	})
	t.Run("a source whose secrets have all ended does not fall back to its token", func(t *testing.T) {
		t.Parallel()
		ended := newSource(t, "one", "", token)
		ended.Secrets = []Secret{{Value: secret, EndsAt: moment}}
		v := verifierOf(t, ended)
		if _, err := proved(v, Delivery{Header: join(legacy(secret), bearer(token))}, moment); !errors.Is(err, ErrSignature) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRanges(t *testing.T) {
	t.Parallel()
	near := newSource(t, "near", secret, token)
	near.Ranges = from("192.0.2.0/24", "2001:db8::/32", "fe80::/10")
	other := newSource(t, "other", "other-secret", "")
	other.Ranges = from("198.51.100.9/32")
	v := verifierOf(t, near, other)
	for client, want := range map[string]error{
		"192.0.2.0": nil, "192.0.2.255": nil, "::ffff:192.0.2.7": nil, "2001:db8:1::1": nil, "fe80::1%eth0": nil,
		"192.0.3.0": ErrAddress, "192.0.1.255": ErrAddress, "2001:db9::1": ErrAddress, "::ffff:10.0.0.1": ErrAddress, "": ErrAddress,
		"198.51.100.9": ErrSignature, // is another source's
	} {
		addr, _ := netip.ParseAddr(client)
		for _, source := range []string{"", "near"} {
			if _, err := proved(v, Delivery{Source: source, Client: addr, Header: legacy(secret)}, moment); !errors.Is(err, want) {
				t.Errorf("from %q to %q: %v, want %v", client, source, err, want)
			}
		}
		if _, err := proved(v, Delivery{Source: "none", Client: addr, Header: legacy(secret)}, moment); err == nil || errors.Is(want, ErrAddress) != errors.Is(err, ErrAddress) {
			t.Errorf("from %q to a source that doesn't exist: %v", client, err)
		}
	}
	t.Run("a source from anywhere goes beside", func(t *testing.T) {
		t.Parallel()
		v := verifierOf(t, newSource(t, DefaultSource, "x", ""), near)
		if got, err := proved(v, Delivery{Client: netip.Addr{}, Header: legacy("x")}, moment); got != DefaultSource {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := proved(v, Delivery{Client: netip.MustParseAddr("10.0.0.1"), Header: legacy(secret)}, moment); !errors.Is(err, ErrSignature) {
			t.Errorf("got %v", err)
		}
	})
}

func TestWithoutAnySource(t *testing.T) {
	t.Parallel()
	closed, open := verifierOf(t), newVerifier(t, nil, nil)
	for _, sent := range []http.Header{headers(), bearer(token), legacy(secret)} {
		if _, err := proved(closed, Delivery{Header: sent}, moment); err == nil {
			t.Errorf("the closed one takes %v", sent)
		}
		for _, source := range []string{"", DefaultSource} {
			if got, err := proved(open, Delivery{Source: source, Header: sent}, moment); err != nil || got != "" {
				t.Errorf("the open one: %q, %v", got, err)
			}
		}
		if _, err := proved(open, Delivery{Source: "none", Header: sent}, moment); err == nil || errors.Is(err, ErrAddress) {
			t.Errorf("a source that doesn't exist: %v", err)
		}
	}
}

func TestHashesCountWhatVerifyCosts(t *testing.T) {
	t.Parallel()
	base64Secret := base64.StdEncoding.EncodeToString([]byte("a key of bytes"))
	ended := newSource(t, "ended", "a", "")
	ended.Secrets = append(ended.Secrets, Secret{Value: "b", EndsAt: moment})
	v := verifierOf(t, newSource(t, "one", secret, token), newSource(t, "two", base64Secret, ""), ended, newSource(t, "legacy", "c", "", Legacy))
	for name, c := range map[string]struct {
		delivery Delivery
		want     int
	}{
		"every live secret":                {Delivery{Header: legacy("x")}, 4},
		"but those of other kinds":         {Delivery{Header: account("x", moment)}, 3},
		"two keys of a secret in base64":   {Delivery{Header: standard("x", moment)}, 4},
		"a named source alone":             {Delivery{Source: "ended", Header: legacy("x")}, 1},
		"a token nothing":                  {Delivery{Header: bearer(token)}, 0},
		"a source that doesn't exist once": {Delivery{Source: "none", Header: legacy("x")}, 1},
	} {
		claim, err := v.Screen(c.delivery, moment)
		if err != nil || claim.Hashes() != c.want {
			t.Errorf("%s: %v, %v, want %d", name, claim, err, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "kiosk-2", strings.Repeat("x", 40)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", DefaultSource, "Kiosk", "a b", "a/b", "a_b", "ä", "a\n", strings.Repeat("x", 41)} {
		if CheckName(name) == nil {
			t.Errorf("%q is taken", name)
		}
	}
	if _, err := VerifierOf([]Source{{Name: "a"}, {Name: "a"}}); err == nil {
		t.Error("two have one name")
	}
}

func TestKindsOfAList(t *testing.T) {
	t.Parallel()
	if got, err := ParseKinds("token, legacy,token"); err != nil || len(got) != 2 || got[0] != Token || got[1] != Legacy {
		t.Errorf("%v, %v", got, err)
	}
	for _, wrong := range []string{"", "hmac", "legacy,", "Legacy"} {
		if _, err := ParseKinds(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// FuzzSources throws headers of all kinds at several sources: nothing panics, and
// nothing is taken without a secret or a token.
func FuzzSources(f *testing.F) {
	near := newSource(f, "near", secret, token)
	near.Ranges = from("192.0.2.0/24")
	v := verifierOf(f, newSource(f, DefaultSource, oldSecret, ""), near, newSource(f, "token", "", oldToken))
	known := [][]byte{[]byte(token), []byte(oldToken)}
	f.Fuzz(func(t *testing.T, source, client string, raw, body []byte) {
		h := http.Header{}
		for line := range bytes.Lines(raw) {
			name, value, _ := bytes.Cut(bytes.TrimRight(line, "\n"), []byte(":"))
			h.Add(string(name), string(value))
		}
		addr, _ := netip.ParseAddr(client)
		claim, err := v.Screen(Delivery{Source: source, Client: addr, Header: h}, moment)
		if err != nil {
			return
		}
		got, err := claim.Verify(body)
		if err != nil {
			return
		}
		if source != "" && got != source {
			t.Fatalf("a delivery of %q is said to be %q's", source, got)
		}
		if got == "near" && !near.Ranges[0].Contains(addr.Unmap()) {
			t.Fatalf("%q is out of range", client)
		}
		for _, k := range known {
			if bytes.Contains(raw, k) {
				return
			}
		}
		for _, s := range []string{secret, oldSecret} {
			if isSignedWith(h, s, body) {
				return
			}
		}
		t.Fatalf("%q is taken of %q", got, raw)
	})
}

// isSignedWith reports whether some signature was made with the secret, in the
// words of those who sign.
func isSignedWith(h http.Header, secret string, body []byte) bool {
	right := []string{SignLegacy(secret, body)}
	for _, ts := range h[headerTimestamp] {
		right = append(right, sign(secret, ts+".", body))
	}
	for i := moment.Unix() - 300; i <= moment.Unix()+300; i++ {
		if h.Get(stdSignature) == "" {
			break
		}
		signature, _ := SignStandard(secret, h.Get(stdID), time.Unix(i, 0), body)
		right = append(right, signature)
	}
	sent := strings.ToLower(strings.Join(h[headerSignature], " ")) + " " + strings.Join(h[stdSignature], " ")
	for _, r := range right {
		if strings.Contains(sent, r) {
			return true
		}
	}
	return false
}
