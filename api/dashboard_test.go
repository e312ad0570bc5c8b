package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"rapport/api/dashboard"
)

// mainPages are the pages that show sessions.
var mainPages = []string{"/", "/ui/sessions", "/ui/agents"}

// parsedPage is a page's HTML. It has to be such that a parser has nothing to guess, and
// such that the policy lets all of it work.
func parsedPage(t *testing.T, w *httptest.ResponseRecorder, status int) *html.Node {
	t.Helper()
	if w.Code != status || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v: %.300s", w.Code, w.Header(), w.Body)
	}
	wantBalanced(t, w.Body.String())
	page, err := html.Parse(strings.NewReader(w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for n := range page.Descendants() {
		for _, a := range n.Attr {
			wantHarmless(t, n, a)
			if a.Key == "id" && ids[a.Val] {
				t.Errorf("two elements have the id %s", a.Val)
			}
			ids[a.Val] = ids[a.Val] || a.Key == "id"
		}
	}
	for _, needed := range []string{"html", "title", "main", "h1", "nav"} {
		if len(elements(page, needed)) == 0 {
			t.Errorf("the page has no %s", needed)
		}
	}
	if len(elements(page, "h1")) != 1 || attrOf(elements(page, "html")[0], "lang") != "en" {
		t.Error("the page has not one h1, or no language")
	}
	wantNamed(t, page)
	return page
}

// wantHarmless refuses what the policy blocks, and what leads to other hosts.
func wantHarmless(t *testing.T, n *html.Node, a html.Attribute) {
	t.Helper()
	switch {
	case a.Key == "style", strings.HasPrefix(a.Key, "on"):
		t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
	case a.Key == "href" || a.Key == "src" || a.Key == "action":
		if !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") || strings.HasPrefix(a.Val, "//") {
			t.Errorf("<%s %s=%q> leads elsewhere", n.Data, a.Key, a.Val)
		}
	case n.Data == "script" && a.Key == "type" && a.Val != "application/json":
		t.Errorf("a script of the type %s", a.Val)
	}
}

// wantNamed checks that what can be filled in has a label, and each table a caption.
func wantNamed(t *testing.T, page *html.Node) {
	t.Helper()
	for _, kind := range []string{"input", "select"} {
		for _, n := range elements(page, kind) {
			if attrOf(n, "type") != "hidden" && (n.Parent == nil || n.Parent.Data != "label") {
				t.Errorf("%s %s has no label", kind, attrOf(n, "name"))
			}
		}
	}
	for _, table := range elements(page, "table") {
		if len(elements(table, "caption")) != 1 {
			t.Error("a table has no caption")
		}
	}
	for _, script := range elements(page, "script") {
		if attrOf(script, "src") == "" && attrOf(script, "type") != "application/json" {
			t.Errorf("a script stands in the page: %s", textIn(script))
		}
	}
	if n := len(elements(page, "style")); n > 0 {
		t.Errorf("%d style elements", n)
	}
}

// voids are the elements without an end.
var voids = []string{"meta", "link", "input", "br", "option"}

// wantBalanced checks that each element ends, and where it should.
func wantBalanced(t *testing.T, page string) {
	t.Helper()
	var open []string
	tokens := html.NewTokenizer(strings.NewReader(page))
	for {
		switch kind := tokens.Next(); kind {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("elements without an end: %v", open)
			}
			return
		case html.StartTagToken, html.EndTagToken:
			name, _ := tokens.TagName()
			switch {
			case slices.Contains(voids, string(name)):
			case kind == html.StartTagToken:
				open = append(open, string(name))
			case len(open) == 0 || open[len(open)-1] != string(name):
				t.Errorf("</%s> where %v is open", name, open)
				return
			default:
				open = open[:len(open)-1]
			}
		}
	}
}

func elements(n *html.Node, name string) []*html.Node {
	var found []*html.Node
	for d := range n.Descendants() {
		if d.Type == html.ElementNode && d.Data == name {
			found = append(found, d)
		}
	}
	return found
}

func attrOf(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textIn(n *html.Node) string {
	var text strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			text.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

// hostileText is what somebody may say.
const hostileText = `</p></script><script>alert(1)</script><img src=x onerror=alert(2)>"'` + "\u202e مرحبا 👩‍🚀 "

func TestPages(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	l.deliver(t, said("A", "s1", "user", hostileText, 1), said("A", "s1", "agent", strings.Repeat("W", 5000), 2),
		said(hostileText, hostileText, hostileText, hostileText, 3), said("B", "a/b?c#d", "user", "Hi", 4), said("B", "..", "user", "Hi", 5))
	l.find(t)
	admin, reader := as(l, "s3cret"), as(l, l.key(t, "reader", readScope))

	t.Run("do nothing that their policy forbids, and are for one visitor's eyes", func(t *testing.T) {
		t.Parallel()
		for _, path := range append(mainPages, "/ui/sessions/s1", "/ui/alerts", "/ui/dead-letters", "/ui/quarantine", "/ui/health") {
			w := get(admin, path)
			parsedPage(t, w, http.StatusOK)
			header := w.Header()
			const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
				"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
			if header.Get("Content-Security-Policy") != policy || header.Get("Cache-Control") != "no-store" ||
				header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "same-origin" {
				t.Errorf("%s: %v", path, header)
			}
		}
	})

	t.Run("show what was said as text, whatever it is", func(t *testing.T) {
		t.Parallel()
		id := url.PathEscape(hostileText)
		for _, path := range append(mainPages, "/?agent="+url.QueryEscape(hostileText), "/ui/sessions/s1", "/ui/sessions/"+id, "/ui/sessions?user_id="+url.QueryEscape(hostileText)) {
			page := parsedPage(t, get(admin, path), http.StatusOK)
			for _, script := range elements(page, "script") {
				if strings.Contains(textIn(script), "</") || strings.Contains(textIn(script), "<script") {
					t.Errorf("%s: a text is markup of its data: %.200s", path, textIn(script))
				}
			}
			if len(elements(page, "img")) > 0 {
				t.Errorf("%s: a text is markup", path)
			}
		}
		if page := parsedPage(t, get(admin, "/ui/sessions/s1"), http.StatusOK); !strings.Contains(textIn(elements(page, "main")[0]), "<img src=x onerror=alert(2)>") {
			t.Error("the transcript lacks what was said")
		}
	})

	t.Run("lead to each session, whatever its id is", func(t *testing.T) {
		t.Parallel()
		page := parsedPage(t, get(admin, "/ui/sessions?range=12m"), http.StatusOK)
		led := 0
		for _, link := range elements(page, "a") {
			if href := attrOf(link, "href"); strings.HasPrefix(href, "/ui/sessions/") || strings.Contains(href, "?session_id=") || strings.Contains(href, "&session_id=") {
				led++
				parsedPage(t, get(admin, href), http.StatusOK)
			}
		}
		if led != 4 {
			t.Errorf("%d links to sessions", led)
		}
	})

	t.Run("carry the range, the agent and the time zone from one to the next", func(t *testing.T) {
		t.Parallel()
		page := parsedPage(t, get(admin, "/?agent=A&range=30d&tz=Asia%2FKolkata"), http.StatusOK)
		for _, link := range elements(elements(page, "nav")[0], "a") {
			if href := attrOf(link, "href"); !strings.HasSuffix(href, "?agent=A&range=30d&tz=Asia%2FKolkata") {
				t.Errorf("a link to %s", href)
			}
		}
		if text := textIn(page); !strings.Contains(text, "Times in Asia/Kolkata") || !strings.Contains(text, "17:30:01") || !strings.Contains(text, "Last 30 days") {
			t.Errorf("%.2000s", text)
		}
	})

	t.Run("say what they pass over of a URL", func(t *testing.T) {
		t.Parallel()
		text := textIn(parsedPage(t, get(admin, "/?range=forever&tz=Mars&until=x"), http.StatusOK))
		for _, needed := range []string{"“forever” is no range", "“Mars” is no time zone", "“x” is no time"} {
			if !strings.Contains(text, needed) {
				t.Errorf("the page lacks %q", needed)
			}
		}
	})

	t.Run("are live for those who have the scope, and say so to others", func(t *testing.T) {
		t.Parallel()
		for h, may := range map[string]bool{"s3cret": true, "reader": false} {
			of := admin
			if h == "reader" {
				of = reader
			}
			w := get(of, "/")
			parsedPage(t, w, http.StatusOK)
			body := w.Body.String()
			if strings.Contains(body, "live-config") != may || strings.Contains(body, "needs a key with the scope live") == may {
				t.Errorf("%s: %.500s", h, body)
			}
		}
	})

	t.Run("go on to what follows in a list, though the time moves on", func(t *testing.T) {
		t.Parallel()
		r := newRequest(http.MethodGet, "/ui/sessions?until=2026-09-28T12:15:00Z&cursor=x", nil)
		page := parsedPage(t, send(admin, r), http.StatusBadRequest)
		if !strings.Contains(textIn(page), "send a next_cursor as it came") {
			t.Errorf("%s", textIn(page))
		}
	})

	t.Run("that fail say why, and what to do", func(t *testing.T) {
		t.Parallel()
		for path, want := range map[string]struct {
			status int
			detail string
		}{
			"/ui/sessions/nobody":                  {http.StatusNotFound, "there is no such session"},
			"/ui/sessions?min_messages=-1":         {http.StatusBadRequest, "min_messages"},
			"/ui/sessions?sort=price":              {http.StatusBadRequest, "sort"},
			"/ui/agents?sort=price":                {http.StatusBadRequest, "sort"},
			"/ui/nothing":                          {http.StatusNotFound, "there is no page at this address"},
			"/ui/sessions/s1?agent_id=B":           {http.StatusNotFound, "there is no such session"},
			"/ui/sessions?range=custom&from=1&to=": {http.StatusOK, "are no days"},
		} {
			w := get(admin, path)
			page := parsedPage(t, w, want.status)
			if !strings.Contains(textIn(page), want.detail) || want.status != http.StatusOK && !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
				t.Errorf("%s: %s", path, textIn(page))
			}
		}
		sql := as(l, l.key(t, "sql", []string{"sql"}))
		if text := textIn(parsedPage(t, get(sql, "/"), http.StatusForbidden)); !strings.Contains(text, "the scope read") {
			t.Error(text)
		}
	})
}

func TestAKeyOfOneAgentSeesItsAgentAloneOnThePages(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	l.deliver(t, said("mine", "s1", "user", "of mine", 1), said("theirs", "s2", "user", "of theirs", 2))
	l.find(t)
	h := as(l, l.key(t, "one", []string{"read", "live"}, "mine"))
	for _, path := range append(mainPages, "/?agent=theirs", "/ui/sessions?agent=theirs") {
		text := get(h, path).Body.String()
		text = strings.ReplaceAll(strings.ReplaceAll(text, "agent=theirs", ""), "agent_id=theirs", "")
		if strings.Contains(text, "of theirs") || strings.Contains(text, "/s2?") || !strings.Contains(path, "theirs") && strings.Contains(text, "theirs") {
			t.Errorf("%s shows another agent", path)
		}
		if !strings.Contains(path, "theirs") && !strings.Contains(text, "mine") {
			t.Errorf("%s lacks the agent", path)
		}
	}
	parsedPage(t, get(h, "/ui/sessions/s1"), http.StatusOK)
	parsedPage(t, get(h, "/ui/sessions/s2"), http.StatusNotFound)
}

func TestPagesWithoutASession(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	for path, says := range map[string]string{
		"/": "curl http://localhost:8080/webhook", "/ui/sessions": "No session began in this time", "/ui/agents": "No agent has had a session yet",
		"/?agent=A": "Nothing of this agent yet",
	} {
		if text := textIn(parsedPage(t, get(l, path), http.StatusOK)); !strings.Contains(text, says) {
			t.Errorf("%s: %s", path, text)
		}
	}
}

func TestPagesWithoutADatabase(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	for _, path := range mainPages {
		if text := textIn(parsedPage(t, get(h, path), http.StatusServiceUnavailable)); !strings.Contains(text, "the database is unavailable") {
			t.Errorf("%s: %s", path, text)
		}
	}
}

func TestWhoIsNotSignedInIsLedThereAndBack(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	const wanted = "/ui/sessions?agent=a%26b&range=30d"
	w := get(l, wanted)
	signin := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || signin != "/signin?next="+url.QueryEscape(wanted) {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	form, err := html.Parse(get(l, signin).Body)
	if err != nil {
		t.Fatal(err)
	}
	sent := url.Values{"key": {"s3cret"}}
	for _, input := range elements(form, "input") {
		if attrOf(input, "type") == "hidden" {
			sent.Set(attrOf(input, "name"), attrOf(input, "value"))
		}
	}
	w = send(l, newRequest(http.MethodPost, "/signin", strings.NewReader(sent.Encode()), "Content-Type", "application/x-www-form-urlencoded", "Origin", ownPage))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != wanted {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	parsedPage(t, get(l, wanted, cookieHeader(cookieIn(t, w))...), http.StatusOK)

	t.Run("a wrong key does not forget the way", func(t *testing.T) {
		t.Parallel()
		again := url.Values{"key": {"wrong"}, "next": {wanted}}
		w := send(l, newRequest(http.MethodPost, "/signin", strings.NewReader(again.Encode()), "Content-Type", "application/x-www-form-urlencoded"))
		if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), html.EscapeString(wanted)) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})

	t.Run("a link of another site, which the cookie isn't sent with, is followed once more", func(t *testing.T) {
		t.Parallel()
		w := get(l, wanted, "Sec-Fetch-Site", "cross-site")
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `<meta http-equiv="refresh" content="0;url=/ui/sessions?agent=a%26b&amp;range=30d">`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestASignInLeadsToPagesOfOursAlone(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"":                           "/",
		"/":                          "/",
		"/?agent=a":                  "/?agent=a",
		"/ui/sessions/a%2Fb?tz=UTC":  "/ui/sessions/a%2Fb?tz=UTC",
		"/ui/alerts#x":               "/ui/alerts",
		"https://evil.example/":      "/",
		"//evil.example/":            "/",
		"///evil.example/":           "/",
		`/\evil.example`:             "/",
		`/ui/\..\..\/evil.example`:   "/",
		"/ui/../../evil":             "/",
		"/ui//evil.example":          "/",
		"/ui/%2e%2E/webhook":         "/",
		"/ui/.%2e/webhook":           "/",
		"/\tevil":                    "/",
		"javascript:alert(1)":        "/",
		"/sessions":                  "/",
		"/signout":                   "/",
		"/ui/assets/x.js":            "/",
		"ui/sessions":                "/",
		"/ui/sessions?x=%0d%0aX:%20": "/ui/sessions?x=%0d%0aX:%20",
	} {
		if got := backTo(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

func TestGuessingAtPagesIsLimitedToo(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{config: Config{APIToken: "reads", Limits: Limits{UnprovenRate: 3}}})
	var statuses []int
	for range 5 {
		statuses = append(statuses, get(h, "/", bearerOf("guess")...).Code)
	}
	if want := []int{303, 303, 303, 429, 429}; !slices.Equal(statuses, want) {
		t.Errorf("%v, want %v", statuses, want)
	}
	if w := get(h, "/", bearerOf("reads")...); w.Code != http.StatusServiceUnavailable { // it has no database
		t.Errorf("who has a key gets %d", w.Code)
	}
}

func TestAssetsAreKeptForGood(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{config: Config{APIToken: "s3cret"}})
	page := get(newLive(t, Config{}), "/").Body.String()
	urls := regexp.MustCompile(`/ui/assets/[^"]+`).FindAllString(page, -1)
	if len(urls) != 5 {
		t.Fatalf("the overview loads %q", urls)
	}
	for _, asset := range urls {
		w := get(h, asset, "Accept-Encoding", "gzip")
		kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
		header := w.Header()
		if w.Code != http.StatusOK || header.Get("Content-Type") != kinds[asset[strings.LastIndex(asset, "."):]] ||
			header.Get("Cache-Control") != "public, max-age=31536000, immutable" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", asset, w.Code, header)
		}
		if !strings.HasSuffix(asset, ".svg") && header.Get("Content-Encoding") != "gzip" && header.Get("Content-Encoding") != "zstd" {
			t.Errorf("%s is not compressed: %v", asset, header)
		}
		if !regexp.MustCompile(`-[0-9a-f]{12}\.`).MatchString(asset) {
			t.Errorf("%s has no digest", asset)
		}
	}
	for _, asset := range []string{"style.css", "LICENSE", "..%2Fuplot%2FLICENSE"} {
		if w := get(h, "/ui/assets/"+asset); w.Code != http.StatusNotFound || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", asset, w.Code, w.Header())
		}
	}
}

// TestTheComponentsMakeTheScore: the page shows what the scores are made of.
func TestTheComponentsMakeTheScore(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	var bodies []string
	for i, role := range []string{"agent", "user", "agent", "user", "user", "agent", "user"} {
		bodies = append(bodies, said("A", "s1", role, fmt.Sprint("text ", i/4), float64(7*i*i)))
	}
	l.deliver(t, append(bodies, said("A", "s2", "user", "this is terrible", 1))...)
	number := regexp.MustCompile(`^[0-9.]+`)
	for _, id := range []string{"s1", "s2"} {
		page := parsedPage(t, get(l, "/ui/sessions/"+id), http.StatusOK)
		scores := 0
		for _, div := range elements(page, "div") {
			if attrOf(div, "class") != "score" {
				continue
			}
			scores++
			var total, sum float64
			_, _ = fmt.Sscan(textIn(elements(div, "strong")[0]), &total)
			for _, cell := range elements(div, "td") {
				var points float64
				if attrOf(cell, "class") == "n" {
					_, _ = fmt.Sscan(number.FindString(textIn(cell)), &points)
				}
				sum += points
			}
			if difference := sum - total; total == 0 || difference > 0.25 || difference < -0.25 {
				t.Errorf("%s: %s: the parts are %v together", id, textIn(div), sum)
			}
		}
		if scores != 2 {
			t.Errorf("%d scores", scores)
		}
	}
}

func TestEveryPageIsOne(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{"/": true, "/ui/sessions": true, "/ui/assets/x": true, "/ui": false, "/uix": false, "/sessions": false, "/signin": false} {
		if dashboard.IsPath(path) != want {
			t.Errorf("%s", path)
		}
	}
}
