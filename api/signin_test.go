package api

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"rapport/api/access"
)

const ownPage = "http://localhost:8080"

// signIn signs in with a key as JSON, and returns the cookie.
func signIn(t *testing.T, h http.Handler, key string) *http.Cookie {
	t.Helper()
	w := send(h, signinRequest(key))
	if w.Code != http.StatusOK {
		t.Fatalf("signing in: %d %s", w.Code, w.Body)
	}
	return cookieIn(t, w)
}

func signinRequest(key string) *http.Request {
	return newRequest(http.MethodPost, "/signin", strings.NewReader(`{"key":"`+key+`"}`), "Content-Type", "application/json")
}

func signinForm(key string, headers ...string) *http.Request {
	form := url.Values{"key": {key}}.Encode()
	headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	return newRequest(http.MethodPost, "/signin", strings.NewReader(form), headers...)
}

func cookieIn(t *testing.T, w *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies", len(cookies))
	}
	return cookies[0]
}

func cookieHeader(c *http.Cookie) []string { return []string{"Cookie", c.Name + "=" + c.Value} }

func TestSigningIn(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	key := l.key(t, "ops", []string{"admin"})

	t.Run("the cookie is not for scripts, other sites or other hosts, and is not the key", func(t *testing.T) {
		t.Parallel()
		c := signIn(t, l, key)
		if c.Name != "rapport" || !c.HttpOnly || c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" ||
			c.Domain != "" || c.MaxAge != 12*60*60 || strings.Contains(c.Value, key[10:20]) {
			t.Errorf("%+v", c)
		}
	})

	t.Run("by TLS it is Secure, and of this host for sure", func(t *testing.T) {
		t.Parallel()
		byTLS := func(r *http.Request) *http.Request { r.TLS = &tls.ConnectionState{}; return r }
		c := cookieIn(t, send(l, byTLS(signinRequest(key))))
		if c.Name != "__Host-rapport" || !c.Secure {
			t.Errorf("%+v", c)
		}
		if w := send(l, byTLS(newRequest(http.MethodGet, "/sessions", nil, cookieHeader(c)...))); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		c.Name = "rapport" // as any host beside this one could set it
		wantProblem(t, send(l, byTLS(newRequest(http.MethodGet, "/sessions", nil, cookieHeader(c)...))), http.StatusUnauthorized)
	})

	t.Run("JSON tells who it is", func(t *testing.T) {
		t.Parallel()
		got := decodeJSON(t, send(l, signinRequest(key)))
		if got["name"] != "ops" || len(got["scopes"].([]any)) != 1 || len(got["agents"].([]any)) != 0 || len(got) != 3 {
			t.Errorf("%v", got)
		}
	})

	t.Run("a form leads to the overview; the sign-in page tells who it is", func(t *testing.T) {
		t.Parallel()
		w := send(l, signinForm(key, "Origin", ownPage))
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
		page := get(l, "/signin", cookieHeader(cookieIn(t, w))...)
		if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "<strong>ops</strong>") || strings.Contains(page.Body.String(), "rpt_") {
			t.Errorf("%d %s", page.Code, page.Body)
		}
	})

	t.Run("RAPPORT_API_TOKEN signs in too", func(t *testing.T) {
		t.Parallel()
		if w := get(l, "/audit", cookieHeader(signIn(t, l, "s3cret"))...); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})

	t.Run("what is no key does not, and sets no cookie", func(t *testing.T) {
		t.Parallel()
		for name, wrong := range map[string]string{"empty": "", "a word": "password", "of the right form": access.NewKey()} {
			w := send(l, signinRequest(wrong))
			wantProblem(t, w, http.StatusUnauthorized)
			form := send(l, signinForm(wrong))
			if form.Code != http.StatusUnauthorized || !strings.Contains(form.Body.String(), `role="alert"`) || len(form.Result().Cookies())+len(w.Result().Cookies()) > 0 {
				t.Errorf("%s: %d %s", name, form.Code, form.Body)
			}
		}
	})

	t.Run("a page of another site can't, neither in nor out", func(t *testing.T) {
		t.Parallel()
		for name, value := range map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "same-site"} {
			wantProblem(t, send(l, signinForm(key, name, value)), http.StatusForbidden)
			wantProblem(t, send(l, newRequest(http.MethodPost, "/signout", nil, name, value)), http.StatusForbidden)
		}
	})

	t.Run("what can't be read is said to be so", func(t *testing.T) {
		t.Parallel()
		for body, want := range map[string]struct {
			kind   string
			status int
		}{
			`{"key":`:   {"application/json", http.StatusBadRequest},
			`{"key":7}`: {"application/json", http.StatusBadRequest},
			`key=%zz`:   {"application/x-www-form-urlencoded", http.StatusBadRequest},
			`{"key":"` + strings.Repeat("k", 5000) + `"}`: {"application/json", http.StatusRequestEntityTooLarge},
			`key=` + strings.Repeat("k", 5000):            {"application/x-www-form-urlencoded", http.StatusRequestEntityTooLarge},
			`key=k`:                                       {"text/plain", http.StatusUnsupportedMediaType},
			`key=kk`:                                      {"", http.StatusUnsupportedMediaType},
		} {
			wantProblem(t, send(l, newRequest(http.MethodPost, "/signin", strings.NewReader(body), "Content-Type", want.kind)), want.status)
		}
	})
}

func TestTheSigninPage(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	w := get(h, "/signin")
	policy := w.Header().Get("Content-Security-Policy")
	if w.Code != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
		t.Errorf("%d, policy %q", w.Code, policy)
	}
	page := w.Body.String()
	for _, needed := range []string{`lang="en"`, `<title>`, `<label for="key">`, `id="key"`, `type="password"`, `autocomplete="current-password"`} {
		if !strings.Contains(page, needed) {
			t.Errorf("the page lacks %s", needed)
		}
	}
	if strings.Contains(page, "<script") || strings.Contains(page, "http://") || strings.Contains(page, "https://") {
		t.Error("the page has a script, or loads something")
	}
}

func TestASignInEnds(t *testing.T) {
	t.Parallel()

	t.Run("when its key is revoked", func(t *testing.T) {
		t.Parallel()
		l := newLive(t, Config{APIToken: "s3cret"})
		c := signIn(t, l, l.key(t, "a", readScope))
		becomes(t, l, http.StatusOK, "/sessions", cookieHeader(c)...)
		l.revoke(t, "a")
		becomes(t, l, http.StatusUnauthorized, "/sessions", cookieHeader(c)...)
	})

	t.Run("after 12 hours, or with its key", func(t *testing.T) {
		t.Parallel()
		l := newLive(t, Config{})
		soon := noon.Add(time.Hour)
		long, short := l.key(t, "long", readScope), l.keyUntil(t, "short", &soon, readScope)
		for key, lasts := range map[string]time.Duration{long: maxSignin, short: time.Hour} {
			l.now.Store(new(noon))
			c := signIn(t, l, key)
			if want := int(lasts / time.Second); c.MaxAge > want || c.MaxAge < want-1 {
				t.Errorf("it lasts %d s, want %d", c.MaxAge, want)
			}
			l.now.Store(new(noon.Add(lasts - 2*time.Second)))
			becomes(t, l, http.StatusOK, "/sessions", cookieHeader(c)...)
			l.now.Store(new(noon.Add(lasts)))
			wantProblem(t, get(l, "/sessions", cookieHeader(c)...), http.StatusUnauthorized)
		}
	})

	t.Run("when whoever is signed in signs out", func(t *testing.T) {
		t.Parallel()
		h := newServer(t, options{})
		w := send(h, newRequest(http.MethodPost, "/signout", nil, "Origin", ownPage))
		if c := cookieIn(t, w); w.Code != http.StatusNoContent || c.Value != "" || c.MaxAge >= 0 || !c.HttpOnly {
			t.Errorf("%d %+v", w.Code, c)
		}
		form := send(h, newRequest(http.MethodPost, "/signout", strings.NewReader(""), "Content-Type", "application/x-www-form-urlencoded"))
		if form.Code != http.StatusSeeOther || cookieIn(t, form).MaxAge >= 0 {
			t.Errorf("%d", form.Code)
		}
	})
}

func TestACookieThatWasTamperedWithIsNone(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	other := newLive(t, Config{APIToken: "s3cret"})
	other.db.Exec(t, "rapport_owner", "UPDATE signin_secret SET secret = sha256('another')")
	c := signIn(t, l, l.key(t, "a", readScope))
	middle := len(c.Value) / 2
	changed := byte('A')
	if c.Value[middle] == changed {
		changed = 'B'
	}
	for name, value := range map[string]string{
		"a character changed": c.Value[:middle] + string(changed) + c.Value[middle+1:],
		"cut off":             c.Value[:middle],
		"padded":              c.Value + "==",
		"empty":               "",
		"no base64":           "!",
		"the key's hash":      "0000",
		"of another database": signIn(t, other, "s3cret").Value,
	} {
		if w := get(l, "/sessions", "Cookie", c.Name+"="+value); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if w := get(l, "/sessions", "Cookie", c.Name+"="+c.Value+"; "+c.Name+"=x"); w.Code != http.StatusUnauthorized {
		t.Errorf("two of them: %d", w.Code)
	}
}

func TestACookieChangesSomethingFromOurOwnPagesAlone(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	cookie := cookieHeader(signIn(t, l, l.key(t, "ops", []string{"admin"})))
	for name, test := range map[string]struct {
		headers []string
		status  int
	}{
		"our origin":                         {[]string{"Origin", ownPage}, http.StatusOK},
		"the browser says so":                {[]string{"Sec-Fetch-Site", "same-origin"}, http.StatusOK},
		"both":                               {[]string{"Sec-Fetch-Site", "same-origin", "Origin", ownPage}, http.StatusOK},
		"neither":                            {nil, http.StatusForbidden},
		"a foreign origin":                   {[]string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"a null origin":                      {[]string{"Origin", "null"}, http.StatusForbidden},
		"another port":                       {[]string{"Origin", "http://localhost:3000"}, http.StatusForbidden},
		"a cross-site request":               {[]string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"a cross-site one of our origin":     {[]string{"Sec-Fetch-Site", "cross-site", "Origin", ownPage}, http.StatusForbidden},
		"a same-origin one of a foreign one": {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, http.StatusForbidden},
		"a subdomain":                        {[]string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
	} {
		w := send(l, newRequest(http.MethodPost, "/dead-letters/retry", nil, append(test.headers, cookie...)...))
		if w.Code != test.status {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, test.status, w.Body)
		}
	}
	if w := get(l, "/sessions", cookie...); w.Code != http.StatusOK {
		t.Errorf("a read: %d", w.Code)
	}
	got := metricLines(t, as(l, "s3cret"), "rapport_forbidden_total")
	if len(got) != 1 || got[0] != "rapport_forbidden_total 8" {
		t.Errorf("%v", got)
	}
}
