package browser

import (
	"encoding/json"
	"net/url"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"
)

// wide and narrow are the windows that the pages are made for, and small the
// narrowest that they must fit.
var (
	wide   = Look{Width: 1280, Height: 900}
	narrow = Look{Width: 390, Height: 844}
	small  = Look{Width: 360, Height: 640}
)

// reader has a tab of a test, which ends when something can't be done.
type reader struct {
	*Tab
	t      *testing.T
	faults []string // that were told
}

// of is the same tab, for a part of its test.
func (r *reader) of(t *testing.T) *reader { return &reader{Tab: r.Tab, t: t} }

func (r *reader) goTo(address string) {
	r.t.Helper()
	if err := r.Go(address); err != nil {
		r.t.Fatalf("opening %s: %v", address, err)
	}
}

func (r *reader) do(steps ...chromedp.Action[chromedp.Void]) {
	r.t.Helper()
	if err := r.Do(steps...); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) until(expression string) {
	r.t.Helper()
	if err := r.Until(expression); err != nil {
		r.t.Fatalf("%v; the page says %q", err, r.text("body"))
	}
}

func value[T any](r *reader, expression string) T {
	r.t.Helper()
	v, err := Value[T](r.Tab, expression)
	if err != nil {
		r.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// text is what a reader finds in the first element of a selector.
func (r *reader) text(selector string) string {
	r.t.Helper()
	return value[string](r, "document.querySelector("+quote(selector)+")?.innerText ?? ''")
}

// click clicks the first element of a selector, and waits for the page that follows.
func (r *reader) click(selector string) {
	r.t.Helper()
	if err := r.Through(chromedp.Click(chromedp.CSS(selector))); err != nil {
		r.t.Fatalf("clicking %s: %v", selector, err)
	}
}

// wantQuiet fails if the browser had to complain, or another host was asked.
func (r *reader) wantQuiet() {
	r.t.Helper()
	for _, complaint := range r.Complaints() {
		r.t.Errorf("the console has %q", complaint)
	}
	own, err := url.Parse(value[string](r, "location.href"))
	if err != nil {
		r.t.Fatal(err)
	}
	if hosts := slices.DeleteFunc(r.Hosts(), func(host string) bool { return host == own.Host }); len(hosts) > 0 {
		r.t.Errorf("other hosts were asked: %v", hosts)
	}
}

func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // it is a text
	}
	return string(quoted)
}
