package browser

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// hostile are messages of somebody who wants more than to be read.
var hostile = []string{
	`<script>window.pwned = 1</script>`,
	`</script><script>window.pwned = 2</script>`,
	`"><img src=x onerror="window.pwned = 3">`,
	`<svg onload="window.pwned = 4"><iframe src="javascript:parent.pwned = 5"></iframe></svg>`,
	`{{.Who.Name}} ${window.pwned = 6} <!-- --> ]]> &lt;b&gt; &#x3c;i&#x3e;`,
	`<style>*{display:none}</style><base href="https://evil.example/"><meta http-equiv="refresh" content="0;url=https://evil.example/">`,
	"\u202ethis goes backwards\u202d \u2066\u2067\u2068 and is never closed",
	"مرحبا، كيف يمكنني مساعدتك اليوم؟ Hello! שלום",
	strings.Repeat("w", 100_000),
	strings.Repeat("z\u0335\u0310\u0342", 300) + " 👩‍👩‍👧‍👦 \u0000\u0007\u001b[31m\u2028\u2029\ufeff end",
	"   leading\n\n\nlines\n\ttabs   ",
}

// names are hostile too, and stand in addresses.
const (
	hostileAgent   = `a/../"><script>window.pwned = 7</script>?x=1#y&z`
	hostileSession = `s%2F..\ <img src=x onerror=window.pwned=8> ` + "\u202e" + `"'` + "`"
)

func TestWhatWasSaidIsHarmlessAndReadable(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	now := time.Now().Add(-time.Minute)
	for i, text := range hostile {
		s.deliver(t, said(hostileAgent, hostileSession, []string{"user", "agent"}[i%2], text, now.Add(time.Duration(i)*time.Second)))
	}
	s.folded(t)
	r := open(t, small)
	r.goTo(s.url + "/")
	r.wantLive()
	r.wantHarmless("the overview")
	s.deliver(t, said(hostileAgent, hostileSession, "user", hostile[1]+" as it happens", time.Now()))
	r.until(feedBegins + quote(hostile[1]+" as it happens"))
	r.wantHarmless("the feed")

	r.click("#feed a")
	said := value[[]string](r, "[...document.querySelectorAll('main .text')].map((e) => e.textContent.trim())")
	for _, text := range hostile[:8] {
		if !slices.Contains(said, text) {
			t.Errorf("the transcript does not have %.60q as it was said", text)
		}
	}
	if !slices.ContainsFunc(said, func(shown string) bool { return strings.HasPrefix(shown, hostile[8][:1000]) }) {
		t.Error("the transcript does not have the long word")
	}
	if !strings.Contains(r.text("main"), hostileAgent) {
		t.Errorf("the agent is not named: %.500s", r.text("main"))
	}
	r.wantHarmless("the session's page")
	for _, path := range []string{"/ui/sessions", "/ui/agents"} {
		r.goTo(s.url + path)
		r.wantHarmless(path)
	}
}

// wantHarmless fails if a text was taken for more than a text, or leaks out of its place.
func (r *reader) wantHarmless(where string) {
	r.t.Helper()
	if value[bool](r, "'pwned' in window") {
		r.t.Errorf("%s: somebody's words were run (%v)", where, value[any](r, "window.pwned"))
	}
	if n := value[int](r, "document.querySelectorAll('main :is(img, iframe, base, meta, style, [onerror], [onload])').length"); n > 0 {
		r.t.Errorf("%s: %d elements were made of somebody's words", where, n)
	}
	leaking := value[[]string](r, `(() => {
		const leaks = [];
		const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		while (walker.nextNode()) {
			if (!/[\u202a-\u202e\u2066-\u2069]/.test(walker.currentNode.data)) continue;
			const e = walker.currentNode.parentElement;
			if (/^(script|option)$/.test(e.localName)) continue;
			const isolated = (e) => /isolate|plaintext/.test(getComputedStyle(e).unicodeBidi) || e.hasAttribute("dir") || e.localName === "bdi" || getComputedStyle(e).display !== "inline";
			if (!isolated(e)) leaks.push(e.outerHTML.slice(0, 120));
		}
		return leaks;
	})()`)
	if len(leaking) > 0 {
		r.t.Errorf("%s: what is written from right to left turns the words around it: %q", where, leaking)
	}
	r.wantUsable()
	r.wantQuiet()
}
