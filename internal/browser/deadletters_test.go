package browser

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"rapport/aggregator/reaction/deliver"
	"rapport/store/storetest"
)

// newPeer is somebody's endpoint: it passes on what it is told.
func newPeer(t *testing.T) (address string, told <-chan string) {
	t.Helper()
	calls := make(chan string, 100)
	peer := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- r.Header.Get("webhook-id") + " " + string(body)
	}))
	t.Cleanup(peer.Close)
	return peer.URL, calls
}

// delivers runs the deliveries to a destination.
func (s *site) delivers(t *testing.T, destination, address string) {
	t.Helper()
	settings := deliver.Settings{
		Destinations: []deliver.Destination{{Name: destination, Kind: deliver.HTTP, URL: address}},
		Allow:        []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}
	deliverer, err := deliver.New(s.db.DB, settings, deliver.NewMetrics(), storetest.Logger())
	if err != nil {
		t.Fatal(err)
	}
	run(t, deliverer.Run)
}

const deadLetters = "/ui/dead-letters"

func TestADeadDeliveryIsTriedAgainByItsButton(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.bury(t)
	address, told := newPeer(t)
	s.delivers(t, "operations", address)
	r := open(t, narrow)
	r.goTo(s.url + deadLetters + "?tz=Europe%2FBerlin")
	r.click("#letter-d3 form[action*='/retry'] button")
	if text := r.text("[role=status]"); !strings.Contains(text, "1\u00a0dead letter is tried again") {
		t.Errorf("the page says %q", text)
	}
	if at := value[string](r, "location.search"); !strings.Contains(at, "tz=Europe%2FBerlin") {
		t.Errorf("the time zone is lost: %s", at)
	}
	select {
	case call := <-told:
		if call != `delivery-2 {"hello":"peer"}` {
			t.Errorf("the destination was told %q", call)
		}
	case <-time.After(patience):
		t.Fatal("the destination was told nothing")
	}
	r.goTo(s.url + deadLetters)
	if letters := value[int](r, "document.querySelectorAll('[id^=letter-]').length"); letters != 2 {
		t.Errorf("there are still %d dead letters, want 2", letters)
	}
	r.wantQuiet()
}

func TestDeadDeliveriesAreDeletedOnlyOnceSomebodyIsSure(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.deliver(t, said("A", "s1", "user", "Hello", time.Now()), said("A", "s1", "agent", "Hello yourself", time.Now()))
	s.folded(t)
	s.bury(t)
	s.buryEvents(t, 1)
	r := open(t, wide)
	r.goTo(s.url + deadLetters)
	if shown := value[int](r, "[...document.querySelectorAll('.danger')].filter((b) => b.checkVisibility()).length"); shown > 0 {
		t.Errorf("%d buttons delete at once", shown)
	}
	value[bool](r, "document.querySelector('#letter-d1 details').open = true")
	r.click("#letter-d1 .danger")
	if text := r.text("[role=status]"); !strings.Contains(text, "1\u00a0dead delivery was deleted") {
		t.Errorf("the page says %q", text)
	}
	value[bool](r, "document.querySelector('.head details').open = true")
	r.click(".head .danger")
	if text := r.text("[role=status]"); !strings.Contains(text, "2\u00a0dead deliveries were deleted") {
		t.Errorf("the page says %q", text)
	}
	r.goTo(s.url + deadLetters + "?done=retry&n=" + url.QueryEscape("<b>9</b>"))
	if text := r.text("[role=status]"); !strings.HasPrefix(text, "0") {
		t.Errorf("the page says %q of what is no number", text)
	}

	t.Run("and all that is left is tried again by one button", func(t *testing.T) {
		r.goTo(s.url + deadLetters)
		r.click("form[action$='/dead-letters/retry'] button")
		if text := r.text("[role=status]"); !strings.Contains(text, "1\u00a0dead letter is tried again") {
			t.Errorf("the page says %q", text)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for r.text("#main .empty") == "" {
			if ctx.Err() != nil {
				t.Fatalf("it is a dead letter still: %s", r.text("main"))
			}
			r.goTo(s.url + deadLetters)
		}
	})
	r.wantQuiet()
}
