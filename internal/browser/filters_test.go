package browser

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// choose fills in a field of the filters, and has them shown.
func (r *reader) choose(field, value string) {
	r.t.Helper()
	r.do(chromedp.SetValue(chromedp.CSS(".filters [name="+field+"]"), value))
	r.click(".filters button:not([type=button])")
}

// query is what the page's address asks for.
func (r *reader) query() url.Values {
	r.t.Helper()
	query, err := url.ParseQuery(strings.TrimPrefix(value[string](r, "location.search"), "?"))
	if err != nil {
		r.t.Fatal(err)
	}
	return query
}

func TestTheFiltersLiveInTheAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	long := time.Now().Add(-10 * 24 * time.Hour)
	s.deliver(t, said("A", "s1", "user", "new", time.Now()), said("B", "s2", "user", "also new", time.Now()), said("A", "s3", "user", "old", long))
	s.folded(t)
	r := open(t, wide)
	r.goTo(s.url + "/")
	sessions := func() string { return r.text(".tiles .figure") }
	if got := sessions(); got != "2" {
		t.Errorf("sessions of the last 7 days: %s, want 2", got)
	}
	r.choose("agent", "A")
	if got := sessions(); got != "1" || r.query().Get("agent") != "A" {
		t.Errorf("sessions of A: %s at %s, want 1", got, r.query())
	}
	r.choose("range", "30d")
	if got := sessions(); got != "2" || r.query().Get("agent") != "A" || r.query().Get("range") != "30d" {
		t.Errorf("sessions of A in 30 days: %s at %s, want 2", got, r.query())
	}
	r.choose("tz", "Asia/Kathmandu")
	if text := r.text("footer"); !strings.Contains(text, "Asia/Kathmandu") || r.query().Get("tz") != "Asia/Kathmandu" {
		t.Errorf("the footer says %q at %s", text, r.query())
	}
	if links := value[int](r, "[...document.querySelectorAll('header nav a')].filter((a) => !a.search.includes('tz=Asia%2FKathmandu')).length"); links > 0 {
		t.Errorf("%d links of the navigation lose the time zone", links)
	}

	t.Run("and the way back leads through them", func(t *testing.T) {
		r.do(chromedp.NavigateBack())
		if got := r.query(); got.Get("tz") != "" || got.Get("range") != "30d" {
			t.Errorf("back is %s", got)
		}
		r.do(chromedp.NavigateBack(), chromedp.NavigateBack())
		if got := value[string](r, "document.querySelector('.filters [name=agent]').value"); got != "" || r.query().Get("agent") != "" {
			t.Errorf("the first page has the agent %q, at %s", got, r.query())
		}
		if got := sessions(); got != "2" {
			t.Errorf("sessions of the last 7 days: %s, want 2", got)
		}
	})

	t.Run("and what an address has wrong is told and passed over", func(t *testing.T) {
		r.goTo(s.url + "/?range=" + url.QueryEscape("<script>window.pwned=1</script>") + "&tz=Nowhere&until=%00&agent=" + url.QueryEscape(strings.Repeat("x", 5000)))
		if told := value[int](r, "document.querySelectorAll('main > .notice').length"); told < 2 {
			t.Errorf("%d problems are told: %s", told, r.text("main"))
		}
		if value[bool](r, "'pwned' in window") {
			t.Error("the address is run")
		}
		if err := r.Look(small); err != nil {
			t.Fatal(err)
		}
		r.wantUsable()
	})
	r.wantQuiet()
}
