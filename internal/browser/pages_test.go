package browser

import (
	_ "embed"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var pictures = flag.String("screenshots", "", "write a picture of each page into this directory")

var (
	//go:embed testdata/faults.js
	faults string
	//go:embed testdata/focus.js
	watchFocus string
)

// paths are the pages, by the names of their pictures. The address of the last one is
// found on another page.
var paths = map[string]string{
	"overview": "/", "overview-agent": "/?agent=A61ALD4408&range=24h&tz=Europe%2FBerlin", "sessions": "/ui/sessions", "agents": "/ui/agents",
	"alerts": "/ui/alerts", "alerts-of-one": "/ui/alerts?rule=quality+drops", "deadletters": deadLetters, "quarantine": "/ui/quarantine",
	"health": "/ui/health", "nothing": "/ui/nothing", "session": "",
}

func TestEveryPageIsUsable(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := open(t, wide)
	for name, path := range paths {
		if name == "session" || name == "alerts-of-one" {
			continue
		}
		t.Run("empty "+name, func(t *testing.T) {
			r := r.of(t)
			r.goTo(s.url + path)
			r.walk(name + "-empty")
		})
	}
	s.fill(t)
	for name, path := range paths {
		t.Run(name, func(t *testing.T) {
			r := r.of(t)
			if name == "session" {
				r.goTo(s.url + "/ui/sessions")
				path = value[string](r, "(({pathname, search}) => pathname + search)(document.querySelector('main tbody a'))")
			}
			r.goTo(s.url + path)
			value[bool](r, pressPause) // nothing is to change by itself while the key Tab goes round
			r.wantKeyboard()
			value[bool](r, pressPause)
			r.walk(name)
		})
	}
}

// pressPause stops what is live on a page, or has it go on.
const pressPause = `(document.getElementById("pause")?.click(), true)`

// looks are those in which each page is looked at: everything that depends on one of
// them is in the first two, and the others make pictures.
var looks = []struct {
	name string
	Look
}{
	{"wide-dark", Look{Width: wide.Width, Height: wide.Height, Dark: true}}, {"small-light", small},
	{"wide-light", wide}, {"narrow-dark", Look{Width: narrow.Width, Height: narrow.Height, Dark: true}}, {"narrow-light", narrow},
}

// posed is the page as it is for pictures: with details, and with the focus nowhere.
const posed = `document.querySelectorAll(".entries details, #letter-d1 details").forEach((d) => { d.open = true; });
	document.activeElement.blur();
	scrollTo(0, 0) === undefined`

// walk looks at the page in every way.
func (r *reader) walk(name string) {
	r.t.Helper()
	shown := looks
	if *pictures == "" {
		shown = looks[:2]
	} else {
		value[bool](r, posed)
	}
	for _, look := range shown {
		if err := r.Look(look.Look); err != nil {
			r.t.Fatal(err)
		}
		r.wantUsable()
		r.picture(name + "-" + look.name)
	}
	if value[int](r, "performance.getEntriesByType('navigation')[0].responseStatus") == 404 {
		r.Complaints() // the console tells of it by itself
	}
	r.wantQuiet()
}

// wantUsable fails if somebody would stumble over the page.
func (r *reader) wantUsable() {
	r.t.Helper()
	for _, fault := range value[[]string](r, faults) {
		if !slices.Contains(r.faults, fault) {
			r.faults = append(r.faults, fault)
			r.t.Errorf("%.100s: %s", value[string](r, "location.pathname+location.search"), fault)
		}
	}
}

// wantKeyboard fails if the keyboard does not reach everything, in view, or does not get
// past the navigation.
func (r *reader) wantKeyboard() {
	r.t.Helper()
	reachable := value[int](r, watchFocus)
	r.do(chromedp.KeyEvent(strings.Repeat(kb.Tab, reachable+3)))
	if missed := value[[]string](r, "window.focused.missed()"); len(missed) > 0 {
		r.t.Errorf("the key Tab never comes to %q", missed)
	}
	if unseen := value[[]string](r, "window.focused.unseen"); len(unseen) > 0 {
		r.t.Errorf("nobody sees that the focus is at %q", unseen)
	}
	if value[string](r, "window.focused.order[0] ?? ''") != value[string](r, "window.focused.describe(document.querySelector('a.skip'))") {
		r.t.Error("the link to the contents is not the first thing that is reached")
	}
	value[bool](r, "document.querySelector('a.skip').focus() === undefined")
	if !value[bool](r, "document.activeElement.getBoundingClientRect().top >= 0") {
		r.t.Error("the link to the contents is not shown where it has the focus")
	}
	r.do(chromedp.KeyEvent(kb.Enter))
	r.until("document.activeElement.id === 'main'")
	r.do(chromedp.KeyEvent(kb.Tab))
	if !value[bool](r, "document.activeElement.closest('main, footer') !== null") {
		r.t.Error("the link to the contents does not lead past the navigation")
	}
}

// picture writes what the reader sees to a file, if that is asked for.
func (r *reader) picture(name string) {
	r.t.Helper()
	if *pictures == "" {
		return
	}
	png, err := r.Picture()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*pictures, name+".png"), png, 0o600); err != nil {
		r.t.Fatal(err)
	}
}
