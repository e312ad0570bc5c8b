package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"rapport/store"
)

// find makes all that was delivered searchable.
func (l *live) find(t *testing.T) {
	t.Helper()
	for {
		step, err := l.db.FillSearch(t.Context(), 1000)
		if err != nil || step.Busy {
			t.Fatal(err, step)
		}
		if step.Position == step.Head {
			return
		}
	}
}

func messagesOf(q string) string { return "/messages?q=" + url.QueryEscape(q) }

func TestSearchTellsOfEachMessage(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "Where is the <b>Table</b> & chair?", 0), said("A", "s1", "assistant", "There.", 2))
	l.find(t)
	rows := decodeRows(t, l, messagesOf("table"))
	if len(rows) != 1 {
		t.Fatal(rows)
	}
	for name, want := range map[string]any{
		"position": 1.0, "agent_id": "A", "session_id": "s1", "started_at": "2026-09-28T12:00:00Z", "role": "user",
		"occurred_at": "2026-09-28T12:00:00Z", "char_count": 34.0, "message_type": "text",
		"snippet":   "Where is the &lt;b&gt;<mark>Table</mark>&lt;/b&gt; &amp; chair?",
		"beginning": "Where is the <b>Table</b> & chair?",
	} {
		if got := rows[0][name]; got != want && !(strings.HasSuffix(name, "_at") && strings.HasPrefix(fmt.Sprint(got), "2026-09-28T12:00:00")) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	wantFields(t, l, messagesOf("table"), "position", "agent_id", "session_id", "started_at", "occurred_at", "role", "snippet", "beginning",
		"char_count", "message_type", "language", "user_id")
	wantColumn(t, allRows(t, l, "/messages", 1), "position", "2", "1")
	wantColumn(t, allRows(t, l, "/messages?role=agent&agent_id=A", 1), "beginning", "There.")
	wantColumn(t, allRows(t, l, "/messages?to=2026-09-28T12:00:01Z", 1), "position", "1")
}

func TestSearchRefusesWhatItCannotLookFor(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "hello", 0))
	l.find(t)
	for _, q := range []string{"?!", "--", `""`, "<>", strings.Repeat("a ", 600)} {
		wantBadParameter(t, get(l, messagesOf(q)), "q")
	}
	wantBadParameter(t, get(l, "/messages?q="), "q")
	wantBadParameter(t, get(l, "/messages?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z"), "from")
	for _, q := range []string{"\x00", "hello\x00", "\xff hello", `"hello`, "hello)", "'", "hello'\\", strings.Repeat("(", 500) + "x", strings.Repeat("-", 500) + "x",
		strings.Repeat("a or ", 200) + "b", strings.Repeat("e@1", 341), ":*", "hello:*", "! hello &", "\u202e hello"} {
		if w := get(l, messagesOf(q)); w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d %s", q, w.Code, w.Body)
		}
	}
}

func TestSearchShowsAKeyItsAgentsAlone(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "shared secret", 0), said("B", "s1", "user", "shared secret", 1), said("A", "s2", "user", "shared secret", 2))
	l.find(t)
	ofA := bearerOf(l.key(t, "a", readScope, "A"))
	admin := bearerOf(l.key(t, "admin", []string{"admin"}))
	read := func(target string, key []string) []row {
		t.Helper()
		w := get(l, target, key...)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", target, w.Code, w.Body)
		}
		var rows []row
		for _, r := range decodeJSON(t, w)["data"].([]any) {
			rows = append(rows, r.(row))
		}
		return rows
	}
	for _, target := range []string{"/messages", messagesOf("secret"), messagesOf("-nothing")} {
		wantColumn(t, read(target, ofA), "position", "3", "1")
		wantColumn(t, read(target, admin), "position", "3", "2", "1")
	}
	wantColumn(t, read("/messages?agent_id=B", ofA), "position")
	// Somebody else's cursor shows nothing of theirs.
	w := get(l, "/messages?limit=1", admin...)
	cursor := decodeJSON(t, w)["next_cursor"].(string)
	wantColumn(t, read("/messages?cursor="+cursor, ofA), "position", "1")
}

func TestSearchPagesGoOnWhileMessagesCome(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	for i := range 7 {
		l.deliver(t, said("A", fmt.Sprint("s", i), "user", "hello", float64(i)))
	}
	l.find(t)
	target, more := messagesOf("hello")+"&limit=2", ""
	var got []string
	for page := range 5 {
		p := decodeJSON(t, get(l, target+more))
		for _, r := range p["data"].([]any) {
			got = append(got, fmt.Sprint(r.(row)["position"]))
		}
		if p["next_cursor"] == nil {
			break
		}
		more = "&cursor=" + p["next_cursor"].(string)
		l.deliver(t, said("A", fmt.Sprint("late", page), "user", "hello", 100))
		l.find(t)
	}
	if want := []string{"7", "6", "5", "4", "3", "2", "1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	wantBadParameter(t, get(l, messagesOf("other")+more), "cursor")
}

func TestSearchWaitsForAPosition(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "hello", 0))
	p := wantProblem(t, get(l, "/messages?min_position=1&wait=0s"), http.StatusServiceUnavailable)
	if !strings.Contains(p["detail"].(string), "the search has not reached 1") {
		t.Error(p["detail"])
	}
	l.find(t)
	wantColumn(t, decodeRows(t, l, "/messages?min_position=1&wait=0s"), "position", "1")
}

func TestErasedMessagesAreNotFound(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("A", "s1", "user", "hello", 0), said("A", "s2", "user", "hello", 1))
	l.find(t)
	plan, err := l.db.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "s1", By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.db.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	wantColumn(t, decodeRows(t, l, messagesOf("hello")), "session_id", "s2")
}

func TestSnippets(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("lorem ", 100)
	for _, c := range []struct {
		text  string
		words []string
		want  string
	}{
		{"Hello there", nil, "Hello there"},
		{"", []string{"x"}, ""},
		{"Hello, HELLO othello hellos", []string{"hello"}, "<mark>Hello</mark>, <mark>HELLO</mark> othello hellos"},
		{`<script>alert("hello & 'you'")</script>`, []string{"hello", "you"},
			"&lt;script&gt;alert(&#34;<mark>hello</mark> &amp; &#39;<mark>you</mark>&#39;&#34;)&lt;/script&gt;"},
		{"<mark>no</mark> </mark> hello", []string{"hello"}, "&lt;mark&gt;no&lt;/mark&gt; &lt;/mark&gt; <mark>hello</mark>"},
		{"re-use it", []string{"re-use", "re", "use"}, "<mark>re-use</mark> it"},
		{"mail jane@example.com, now", []string{"jane@example.com"}, "mail <mark>jane@example.com</mark>, now"},
		{"ÉTÉ à 東京!", []string{"été", "東京"}, "<mark>ÉTÉ</mark> à <mark>東京</mark>!"},
		{"a\x01b\x02", []string{"a"}, "<mark>a</mark>\x01b\x02"},
	} {
		if got := snippet(c.text, c.words); got != c.want {
			t.Errorf("%q %q: %q, want %q", c.text, c.words, got, c.want)
		}
	}
	got := snippet("one "+long+"one two "+long, []string{"one", "two"})
	if !strings.HasPrefix(got, "…") || !strings.HasSuffix(got, "…") || !strings.Contains(got, "<mark>one</mark> <mark>two</mark>") || len(got) > 300 {
		t.Errorf("%q", got)
	}
	if got := snippet(strings.Repeat("<", 1000), nil); got != strings.Repeat("&lt;", maxSnippet)+"…" {
		t.Errorf("%q", got)
	}
	word := strings.Repeat("x", 1000)
	if got := snippet(word, []string{word}); got != "<mark>"+word[:maxSnippet]+"</mark>…" {
		t.Errorf("%q", got)
	}
}

func FuzzSnippet(f *testing.F) {
	f.Add("<b>Hello</b> & you", "hello", "you")
	f.Fuzz(func(t *testing.T, text, one, other string) {
		got := snippet(text, []string{one, other})
		plain := strings.NewReplacer("<mark>", "", "</mark>", "").Replace(got)
		if strings.ContainsAny(plain, `<>"'`) || strings.Count(got, "<mark>") != strings.Count(got, "</mark>") {
			t.Errorf("%q %q %q: %q", text, one, other, got)
		}
	})
}
