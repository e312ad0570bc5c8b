package demo

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestEveryScriptPlays(t *testing.T) {
	t.Parallel()
	for _, s := range scripts() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			if s.language == "" {
				t.Error("it has no language")
			}
			for seed := range uint64(50) {
				requireBelievable(t, play(s, rand.New(rand.NewPCG(seed, 0))))
			}
		})
	}
}

// requireBelievable checks what every playing of a script promises.
func requireBelievable(t *testing.T, c *conversation) {
	t.Helper()
	if len(c.moments) == 0 || c.moments[0].after != 0 {
		t.Fatal("a conversation begins with a moment, at once")
	}
	for i, m := range c.moments {
		if strings.ContainsAny(m.text, "{}|#") {
			t.Errorf("%q still has what stands for its words", m.text)
		}
		isSaid := m.act == agentSays || m.act == agentIsCut || m.act == userSays
		if isSaid && strings.TrimSpace(m.text) == "" {
			t.Error("somebody says nothing")
		}
		if m.rating != 0 && (m.rating < 1 || m.rating > 5 || m.rating*2 != float64(int(m.rating*2))) {
			t.Errorf("a rating of %v", m.rating)
		}
		if i > 0 {
			requireGap(t, &c.moments[i-1], &m)
		}
	}
}

func requireGap(t *testing.T, last, next *moment) {
	t.Helper()
	gap := next.after - last.after
	if gap < 300*time.Millisecond {
		t.Errorf("only %v before %q", gap, next.text)
	}
	isAnswer := last.act == userSays && (next.act == agentSays || next.act == agentIsCut)
	if isAnswer && (gap < time.Second || gap > 6*time.Second) {
		t.Errorf("%v before the answer %q", gap, next.text)
	}
}

func TestAWordStaysTheSameForAConversation(t *testing.T) {
	t.Parallel()
	parsed, err := parseScripts(`
site a legacy
agents A1
rooms r
script s
language en
let order = X-#### | Y-####
join
user My order is {order}.
agent {Is it|So it is} {order}?
`)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for seed := range uint64(20) {
		c := play(parsed[0], rand.New(rand.NewPCG(seed, 0)))
		order := strings.TrimSuffix(strings.TrimPrefix(c.moments[1].text, "My order is "), ".")
		if !strings.Contains(c.moments[2].text, " "+order+"?") {
			t.Errorf("%q is answered with %q", c.moments[1].text, c.moments[2].text)
		}
		seen[order] = true
	}
	if len(seen) < 15 {
		t.Errorf("20 conversations have only %d different orders", len(seen))
	}
}

func TestParseScriptsTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const site = "site a legacy\nagents A1\nrooms r\nscript s\n"
	for _, bad := range []struct{ promise, text, want string }{
		{"a line outside of a script", "join\n", "line 1: join stands outside"},
		{"a script outside of a site", "script s\n", "line 1: script stands outside"},
		{"a generation that there is not", "site a account\n", "line 1: a site's generation is"},
		{"a site without agents", "site a current\nscript s\n", "line 2: a site needs its agents"},
		{"a legacy site without rooms", "site a legacy\nagents A1\nscript s\n", "line 3: a legacy site needs its rooms"},
		{"an unknown line", site + "sing la la\n", "line 5: sing means nothing"},
		{"a word without choices", site + "let x\n", "line 5: want let"},
		{"a word that nothing names", site + "user {x}\n", "line 5: no let names {x}"},
		{"an error without its kind", site + "error X y\n", "line 5: want error"},
		{"a duration that is none", site + "later soon\n", "line 5: time:"},
		{"a rating that is none", site + "end ended good\n", "line 5: strconv."},
		{"an end that the current generation does not tell", "site a current\nagents A1\nscript s\nend ended\n", "line 4: the current generation"},
	} {
		t.Run(bad.promise, func(t *testing.T) {
			t.Parallel()
			if _, err := parseScripts(bad.text); err == nil || !strings.HasPrefix(err.Error(), bad.want) {
				t.Errorf("%v, want %s", err, bad.want)
			}
		})
	}
}
