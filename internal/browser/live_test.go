package browser

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/api/webhook"
	"rapport/store"
)

// wantLive waits until the page hears what happens.
func (r *reader) wantLive() {
	r.t.Helper()
	r.until("document.querySelector('#live').dataset.state === 'live'")
}

// feed are the messages that the page shows, the newest first.
func (r *reader) feed() []string {
	r.t.Helper()
	return value[[]string](r, "[...document.querySelectorAll('#feed > li > p.text')].map((p) => p.textContent)")
}

const feedBegins = "document.querySelector('#feed > li > p.text')?.textContent === "

func TestWhatHappensIsSeenAsItHappens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, said("A", "s1", "user", "before anybody looked", time.Now()))
	s.folded(t)
	ofA := open(t, wide)
	ofA.goTo(s.url + "/?agent=A")
	ofA.wantLive()
	r := open(t, small)
	r.goTo(s.url + "/")
	r.wantLive()
	for i, text := range []string{"first", "second <b>bold</b> & \"quoted\""} {
		s.deliver(t, said("B", "s"+text, "user", text, time.Now()))
		r.until(feedBegins + quote(text))
		r.until("document.querySelector('#open-count').textContent === " + quote(string(rune('2'+i))))
	}
	if got := r.feed(); !slices.Equal(got, []string{"second <b>bold</b> & \"quoted\"", "first", "before anybody looked"}) {
		t.Errorf("the feed has %q", got)
	}
	if n := value[string](r, "document.querySelector('#minute-count').textContent"); n != "3" {
		t.Errorf("messages in the last minute: %s, want 3", n)
	}
	r.wantUsable()
	r.wantQuiet()

	t.Run("and only what is of the agent that was chosen", func(t *testing.T) {
		s.deliver(t, said("A", "s1", "user", "of A", time.Now()))
		ofA.until(feedBegins + "'of A'")
		if got := ofA.feed(); !slices.Equal(got, []string{"of A", "before anybody looked"}) {
			t.Errorf("the feed has %q", got)
		}
		ofA.wantQuiet()
	})
}

func TestAServersRestartLosesTheReaderNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, said("A", "s1", "user", "one", time.Now()))
	r := open(t, wide)
	r.goTo(s.url + "/")
	r.wantLive()
	s.end()
	r.until("document.querySelector('#live').dataset.state !== 'live'")
	s.append(t, said("A", "s1", "user", "two", time.Now()))
	s.begin(t, strings.TrimPrefix(s.url, "http://"))
	r.until(feedBegins + "'two'")
	r.wantLive()
	s.deliver(t, said("A", "s1", "user", "three", time.Now()))
	r.until(feedBegins + "'three'")
	if got := r.feed(); !slices.Equal(got, []string{"three", "two", "one"}) {
		t.Errorf("the feed has %q", got)
	}
}

// append puts an event into the log while no server takes any.
func (s *site) append(t *testing.T, body string) {
	t.Helper()
	event, err := webhook.Decode([]byte(body), time.Now(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Append(t.Context(), []*rapport.Event{&event}); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsErasedLeavesThePageOfItsSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, said("A", "s1", "user", "my secret", time.Now()))
	s.folded(t)
	r := open(t, wide)
	r.goTo(s.url + "/ui/sessions/s1")
	r.wantLive()
	plan, err := s.db.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseSession, SessionID: "s1", By: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Erase(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	r.until("document.querySelector('#live')?.dataset.erased === '' && !document.body.textContent.includes('my secret')")
	r.wantQuiet()
}
