package api

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rapport"
)

// TestIncludedMessagesAreThoseOfTheirOwnList has conversations of one agent and of
// several, short and long, with equal times and with healed messages.
func TestIncludedMessagesAreThoseOfTheirOwnList(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	talks := [][]*rapport.Event{
		talk(rng, "A", "short", 5), talk(rng, "A", "two agents", 8), talk(rng, "B", "two agents", 12),
		talk(rng, "A", "half a page", 60), talk(rng, "A", "long", 300),
		{{Type: rapport.RoomJoin, AgentID: "A", SessionID: "silent", OccurredAt: noon, ReceivedAt: noon, Payload: []byte("{}")}},
	}
	plain := talk(rng, "A", "as delivered", 20)
	talks = append(talks, without(plain, func(e *rapport.Event) bool { return e.HealedFrom != "" }))
	var moments []int64
	for i, events := range talks {
		for n, e := range events {
			if i > 0 && n == len(events)-1 {
				l.follow(t, 100) // what comes last is not folded
			}
			appended, err := l.db.Append(t.Context(), []*rapport.Event{e})
			if err != nil {
				t.Fatal(err)
			}
			if n == len(events)/2 {
				moments = append(moments, appended[0].Position)
			}
		}
	}
	for i, events := range talks {
		path := "/sessions/" + strings.ReplaceAll(events[0].SessionID, " ", "%20")
		for _, asked := range []string{"", "agent_id=A", fmt.Sprint("as_of=", moments[i]), fmt.Sprint("agent_id=A&as_of=", moments[i])} {
			wantIncluded(t, l, path, asked)
		}
	}
	wantProblem(t, get(l, "/sessions/nobody?include=messages"), http.StatusNotFound)
	wantBadParameter(t, get(l, "/sessions/short?include=events"), "include")
	for _, format := range []string{"csv", "ndjson"} {
		wantBadParameter(t, get(l, "/sessions/short?include=messages&format="+format), "include")
	}
	if _, ok := decodeJSON(t, get(l, "/sessions/short"))["messages"]; ok {
		t.Error("messages are there without being asked for")
	}
}

func without(events []*rapport.Event, is func(*rapport.Event) bool) (rest []*rapport.Event) {
	for _, e := range events {
		if !is(e) {
			rest = append(rest, e)
		}
	}
	return rest
}

// wantIncluded compares an answer that includes messages with those of the requests that
// ask for each alone.
func wantIncluded(t *testing.T, l *live, path, asked string) {
	t.Helper()
	w := get(l, path+"?"+asked+"&include=messages")
	alone := get(l, path+"?"+asked)
	if w.Code != alone.Code {
		t.Fatalf("%s?%s: %d with messages, %d without: %s", path, asked, w.Code, alone.Code, w.Body)
	}
	if w.Code != http.StatusOK {
		return
	}
	got := decodeJSON(t, w)
	if diff := cmp.Diff(decodeJSON(t, alone)["data"], got["data"]); diff != "" {
		t.Errorf("%s?%s: sessions (-alone +with messages):\n%s", path, asked, diff)
	}
	messages := got["messages"].(row)
	want := decodeJSON(t, get(l, path+"/messages?"+asked))
	delete(want, "query")
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("%s?%s: messages (-alone +included):\n%s", path, asked, diff)
	}
	if next, ok := messages["next_cursor"].(string); ok {
		if w := get(l, path+"/messages?"+asked+"&cursor="+next); w.Code != http.StatusOK {
			t.Errorf("%s?%s: the next page is %d %s", path, asked, w.Code, w.Body)
		}
	}
	if got["query"].(row)["include"] != "messages" {
		t.Errorf("query: %v", got["query"])
	}
}
