package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rapport"
)

func TestACursorComesBackAsItWent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string { return rapport.CleanText(rapid.String().Draw(t, "text")) })
		micros := rapid.Int64Range(0, maxMicros)
		sent := cursor[sessionPlace]{
			Version: cursorVersion, List: "abc", Now: micros.Draw(t, "now"),
			Place: sessionPlace{AgentID: text.Draw(t, "agent"), SessionID: text.Draw(t, "session"), StartedAt: micros.Draw(t, "started")},
		}
		if rapid.Bool().Draw(t, "valued") {
			sent.Place.Value = new(rapid.Int64().Draw(t, "value"))
		}
		got, err := decodeCursor[sessionPlace](sent.encode(), "abc")
		if err != nil {
			t.Fatal(err)
		}
		if got.encode() != sent.encode() {
			t.Fatalf("%+v became %+v", sent, got)
		}
	})
}

func TestMalformedCursors(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	value := int64(0)
	hash, err := listHash("quarantine")
	if err != nil {
		t.Fatal(err)
	}
	good := cursor[quarantinePlace]{cursorVersion, hash, 0, quarantinePlace{7}}
	if _, err := decodeCursor[quarantinePlace](good.encode(), hash); err != nil {
		t.Fatal(err)
	}
	plain, _ := json.Marshal(good)
	encode := base64.RawURLEncoding.EncodeToString
	for name, text := range map[string]string{
		"not base64":        "!!!!",
		"padded":            base64.URLEncoding.EncodeToString(append(plain, ' ')),
		"not JSON":          encode([]byte("7")),
		"null":              encode([]byte("null")),
		"cut":               good.encode()[:len(good.encode())-3],
		"with data after":   encode(append(plain, "{}"...)),
		"with a space":      encode(append(plain, ' ')),
		"unknown field":     encode([]byte(strings.Replace(string(plain), `{"v"`, `{"x":1,"v"`, 1))),
		"another version":   cursor[quarantinePlace]{cursorVersion + 1, hash, 0, quarantinePlace{7}}.encode(),
		"another list":      cursor[quarantinePlace]{cursorVersion, "abc", 0, quarantinePlace{7}}.encode(),
		"no place":          cursor[quarantinePlace]{cursorVersion, hash, 0, quarantinePlace{}}.encode(),
		"a negative place":  cursor[quarantinePlace]{cursorVersion, hash, 0, quarantinePlace{-1}}.encode(),
		"a now far away":    cursor[quarantinePlace]{cursorVersion, hash, maxMicros + 1, quarantinePlace{7}}.encode(),
		"of other contents": cursor[sessionPlace]{cursorVersion, hash, 0, sessionPlace{Value: &value}}.encode(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantBadParameter(t, get(h, "/quarantine?cursor="+text), "cursor")
		})
	}
}

func TestACursorIsOfOneList(t *testing.T) {
	t.Parallel()
	in := sessionsInput{Sort: "-started_at", PageParams: PageParams{FormatParams: FormatParams{Limit: 5}}}
	hash := func(change func(*sessionsInput)) string {
		other := in
		change(&other)
		_, hash, err := other.query()
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	same := hash(func(*sessionsInput) {})
	time := timeParam{at: noon, set: true}
	for name, change := range map[string]func(*sessionsInput){
		"sort":            func(in *sessionsInput) { in.Sort = "started_at" },
		"from":            func(in *sessionsInput) { in.From = time },
		"to":              func(in *sessionsInput) { in.To = time },
		"agent_id":        func(in *sessionsInput) { in.AgentID = "a" },
		"session_id":      func(in *sessionsInput) { in.SessionID = "a" },
		"status":          func(in *sessionsInput) { in.Status = "open" },
		"engagement_tier": func(in *sessionsInput) { in.EngagementTier = "deep" },
		"min_messages":    func(in *sessionsInput) { in.MinMessages = 1 },
	} {
		if hash(change) == same {
			t.Errorf("another %s is another list", name)
		}
	}
	if hash(func(in *sessionsInput) { in.Limit = 6; in.MinPosition = 3; in.Wait.set = true }) != same {
		t.Error("limit, min_position and wait may differ between pages")
	}
}

func TestACursorOfSessionsFitsItsSort(t *testing.T) {
	t.Parallel()
	h := newServer(t, options{})
	in := sessionsInput{Sort: "-started_at"}
	_, hash, err := in.query()
	if err != nil {
		t.Fatal(err)
	}
	place := sessionPlace{Value: new(int64(5)), AgentID: "a", SessionID: "s", StartedAt: 5}
	good := cursor[sessionPlace]{cursorVersion, hash, 1, place}
	wantProblem(t, get(h, "/sessions?cursor="+good.encode()), http.StatusServiceUnavailable)
	for name, change := range map[string]func(*sessionPlace){
		"null":            func(p *sessionPlace) { p.Value = nil },
		"a time too late": func(p *sessionPlace) { p.Value = new(int64(maxMicros + 1)) },
		"a start before":  func(p *sessionPlace) { p.StartedAt = -1 },
		"U+0000":          func(p *sessionPlace) { p.AgentID = "a\x00" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := good
			change(&bad.Place)
			wantBadParameter(t, get(h, "/sessions?cursor="+bad.encode()), "cursor")
		})
	}
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add(cursor[sessionPlace]{cursorVersion, "l", 1, sessionPlace{Value: new(int64(1)), AgentID: "a"}}.encode())
	f.Add(cursor[eventPlace]{Version: cursorVersion, List: "l", Place: eventPlace{1, 2, make([]byte, 32)}}.encode())
	f.Add("")
	f.Add("bnVsbA")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := decodeCursor[sessionPlace](text, "l"); err == nil && c.encode() != text {
			t.Errorf("%q is taken for %q", text, c.encode())
		}
		if c, err := decodeCursor[eventPlace](text, "l"); err == nil {
			c.Place.ofStore()
		}
		_, _ = decodeCursor[quarantinePlace](text, "l")
	})
}
