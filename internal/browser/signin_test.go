package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"rapport/api/access"
	"rapport/store"
)

// key makes an API key.
func (s *site) key(t *testing.T, name string, scopes []string, agents ...string) string {
	t.Helper()
	key := access.NewKey()
	err := s.db.CreateKey(t.Context(), store.NewKey{
		Name: name, Prefix: access.PrefixOf(key), Hash: access.HashOf(key), Scopes: scopes, Agents: agents,
	}, "cli:test")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signIn signs in where the page asks for it.
func (r *reader) signIn(key string) {
	r.t.Helper()
	r.until("document.querySelector('#key')")
	r.do(chromedp.SendKeys(chromedp.CSS("#key"), key))
	r.click("form[action^='/signin'] button")
}

func TestWhoSignsInComesBackToThePageThatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.bury(t)
	reader, admin := s.key(t, "reader", []string{"read"}), s.key(t, "admin", []string{"admin"})
	r := open(t, narrow)
	r.goTo(s.url + deadLetters + "?tz=Asia%2FTokyo")
	r.signIn(reader)
	if at := value[string](r, "location.pathname + location.search"); at != deadLetters+"?tz=Asia%2FTokyo" {
		t.Errorf("the reader is at %s", at)
	}
	if cut := value[int](r, "(name => name.scrollWidth - name.clientWidth)(document.querySelector('.who .soft'))"); cut > 0 {
		t.Errorf("of the key's name, %d pixels are cut off", cut)
	}
	if buttons := value[int](r, "document.querySelectorAll('main button').length"); buttons != 0 {
		t.Errorf("who may only read finds %d buttons", buttons)
	}
	if text := r.text("main"); !strings.Contains(text, "scope admin") {
		t.Errorf("nobody says what is needed: %s", text)
	}
	r.wantUsable()
	r.click("form[action='/signout'] button")
	r.signIn(admin)
	r.goTo(s.url + deadLetters)
	r.click("form[action$='/dead-letters/retry'] button")
	if text := r.text("[role=status]"); !strings.Contains(text, "dead letters are tried again") {
		t.Errorf("the page says %q", text)
	}
	r.wantQuiet()
}
