package demo

import (
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed scripts.txt
var scriptsText string

// scripts are those of scripts.txt, in its order.
var scripts = sync.OnceValue(func() []*script {
	parsed, err := parseScripts(scriptsText)
	if err != nil {
		panic("scripts.txt: " + err.Error()) // the tests read it too
	}
	return parsed
})

// site is one customer with its avatars.
type site struct {
	generation generation
	agents     []string
	rooms      []string // legacy
}

// script is a conversation as it is written down.
type script struct {
	site     *site
	name     string
	language string
	words    []word
	lines    []line
}

// word is one that stays the same for a whole conversation.
type word struct {
	name    string
	choices []string
}

// act is what a line lets happen, by the name it has in scripts.txt.
type act string

const (
	join       act = "join"
	agentSays  act = "agent"
	agentIsCut act = "cut"
	userSays   act = "user"
	later      act = "later"
	mayLeave   act = "leave?"
	fails      act = "error"
	ends       act = "end"
)

type line struct {
	act     act
	text    string        // what is said; of an error, its message
	atLeast time.Duration // of later
	fault   fault
	ending  ending
}

// fault tells the kind of an error.
type fault struct{ code, category, severity string }

// ending is how a session ends.
type ending struct {
	reason    string
	low, high float64 // bounds of the rating, 1 to 5; 0 if there is none
}

// parseScripts reads the format that scripts.txt describes.
func parseScripts(text string) ([]*script, error) {
	var p parser
	number := 0
	for raw := range strings.Lines(text) {
		number++
		verb, rest, _ := strings.Cut(strings.TrimSpace(raw), " ")
		if verb == "" || strings.HasPrefix(verb, "#") {
			continue
		}
		if err := p.read(verb, strings.TrimSpace(rest)); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return p.scripts, nil
}

type parser struct {
	site    *site
	scripts []*script
}

func (p *parser) read(verb, rest string) error {
	switch verb {
	case "site":
		return p.readSite(rest)
	case "agents", "rooms", "script":
		return p.readOfSite(verb, rest)
	}
	if p.site == nil || len(p.scripts) == 0 {
		return fmt.Errorf("%s stands outside of a script", verb)
	}
	s := p.scripts[len(p.scripts)-1]
	switch verb {
	case "language":
		s.language = rest
		return nil
	case "let":
		return s.readWord(rest)
	default:
		return s.readLine(act(verb), rest)
	}
}

func (p *parser) readSite(rest string) error {
	_, gen, _ := strings.Cut(rest, " ")
	if g := generation(gen); g != legacy && g != current {
		return fmt.Errorf("a site's generation is %s or %s", legacy, current)
	}
	p.site = &site{generation: generation(gen)}
	return nil
}

func (p *parser) readOfSite(verb, rest string) error {
	switch {
	case p.site == nil:
		return fmt.Errorf("%s stands outside of a site", verb)
	case verb == "agents":
		p.site.agents = strings.Fields(rest)
	case verb == "rooms":
		p.site.rooms = strings.Fields(rest)
	case len(p.site.agents) == 0:
		return errors.New("a site needs its agents before its scripts")
	case p.site.generation == legacy && len(p.site.rooms) == 0:
		return errors.New("a legacy site needs its rooms before its scripts")
	default:
		p.scripts = append(p.scripts, &script{site: p.site, name: rest})
	}
	return nil
}

func (s *script) readWord(rest string) error {
	name, choices, ok := strings.Cut(rest, " = ")
	if !ok {
		return errors.New("want let WORD = A | B")
	}
	s.words = append(s.words, word{name, strings.Split(choices, " | ")})
	return nil
}

func (s *script) readLine(act act, rest string) (err error) {
	l := line{act: act}
	switch act {
	case join, mayLeave:
	case agentSays, agentIsCut, userSays:
		l.text = rest
	case later:
		l.atLeast, err = time.ParseDuration(rest)
	case fails:
		l.fault, l.text, err = readFault(rest)
	case ends:
		l.ending, err = readEnding(rest)
	default:
		err = fmt.Errorf("%s means nothing", act)
	}
	if err != nil {
		return err
	}
	if s.site.generation == current && (act == fails || act == ends) {
		return fmt.Errorf("the current generation tells of no %s", act)
	}
	s.lines = append(s.lines, l)
	return s.checkWords(l.text)
}

func readFault(rest string) (fault, string, error) {
	fields := strings.SplitN(rest, " ", 4)
	if len(fields) < 4 {
		return fault{}, "", errors.New("want error CODE CATEGORY SEVERITY TEXT")
	}
	return fault{fields[0], fields[1], fields[2]}, fields[3], nil
}

func readEnding(rest string) (ending, error) {
	reason, rating, rated := strings.Cut(rest, " ")
	e := ending{reason: reason}
	if !rated {
		return e, nil
	}
	low, high, _ := strings.Cut(rating, "-")
	var errLow, errHigh error
	e.low, errLow = strconv.ParseFloat(low, 64)
	e.high, errHigh = strconv.ParseFloat(high, 64)
	return e, errors.Join(errLow, errHigh)
}

var wordInText = regexp.MustCompile(`\{([^{}|]*)\}`)

// checkWords refuses a text with a word that no let before it has named.
func (s *script) checkWords(text string) error {
	for _, found := range wordInText.FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(s.words, func(w word) bool { return w.name == found[1] }) {
			return fmt.Errorf("no let names {%s}", found[1])
		}
	}
	return nil
}
