package browser

import (
	"strings"
	"testing"
	"time"
)

// What no test above would notice would never be noticed.
func TestTheBrowserTellsWhatGoesWrong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := open(t, wide)
	for what, test := range map[string]struct{ script, told string }{
		"a script in the page": {`document.body.append(Object.assign(document.createElement("script"), {textContent: "window.pwned = 1"}))`, "Content Security Policy"},
		"a style in the page":  {`document.body.insertAdjacentHTML("beforeend", "<p style='color: red'>")`, "Content Security Policy"},
		"another host":         {`document.body.append(Object.assign(new Image(), {src: "https://evil.example/x.png"}))`, "evil.example"},
		"a warning":            {`console.warn("careful")`, "careful"},
		"an exception":         {`setTimeout(() => { throw new Error("broken"); })`, "broken"},
		"an unhandled promise": {`Promise.reject(new Error("refused"))`, "refused"},
		"an answer 404":        {`fetch("/ui/nothing")`, "404"},
	} {
		r.goTo(s.url + "/ui/health")
		value[bool](r, "("+test.script+", true)")
		if !told(r, test.told) {
			t.Errorf("nobody is told of %s", what)
		}
	}

	t.Run("and a page's faults are found", func(t *testing.T) {
		r := r.of(t)
		if err := r.Look(small); err != nil {
			t.Fatal(err)
		}
		wantFaultsFound(r, s.url+"/ui/health")
	})
}

// told waits until the browser complains of something.
func told(r *reader, of string) bool {
	for over := time.Now().Add(patience); time.Now().Before(over); {
		value[bool](r, "new Promise((resolve) => setTimeout(resolve, 10, true))")
		if strings.Contains(strings.Join(append(r.Complaints(), r.Hosts()...), "\n"), of) {
			return true
		}
	}
	return false
}

func wantFaultsFound(r *reader, address string) {
	r.t.Helper()
	r.goTo(address)
	r.wantUsable()
	for markup, fault := range map[string]string{
		`<input>`:                            "no label",
		`<button></button>`:                  "no name",
		`<img src="">`:                       "no alt",
		`<h4>deep</h4>`:                      "a heading of level 4 follows",
		`<p id="main">`:                      "its id is another's too",
		`<p class="wide">w</p>`:              "px wide in a window",
		`<p class="pale">pale</p>`:           "has a contrast of",
		`<table><tr><th>x</th></tr></table>`: "a table without a name",
	} {
		value[bool](r, `(document.querySelector("main").insertAdjacentHTML("beforeend", `+quote(markup)+`),
			document.querySelectorAll(".wide").forEach((e) => { e.style.width = "50rem"; }),
			document.querySelectorAll(".pale").forEach((e) => { e.style.color = "#999"; e.style.background = "#fff"; }), true)`)
		if found := strings.Join(value[[]string](r, faults), "\n"); !strings.Contains(found, fault) {
			r.t.Errorf("%s has no fault %q: %s", markup, fault, found)
		}
		value[bool](r, `(document.querySelector("main").lastElementChild.remove(), true)`)
	}
}
