package rapport_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"rapport"
)

func parseScripts(text string) ([]*script, error) {
	var scripts []*script
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if name, ok := strings.CutPrefix(line, "case "); ok {
			scripts = append(scripts, &script{name: name, settings: rapport.DefaultSettings(), last: day})
			continue
		}
		if len(scripts) == 0 {
			return nil, fmt.Errorf("%d: a file begins with a case", i+1)
		}
		if err := scripts[len(scripts)-1].read(splitWords(line), i+1); err != nil {
			return nil, fmt.Errorf("%d: %w", i+1, err)
		}
	}
	return scripts, nil
}

var wordPattern = regexp.MustCompile(`(?:([a-z_]+)=)?("(?:[^"\\]|\\.)*"|\S+)`)

func splitWords(line string) []word {
	var words []word
	for _, match := range wordPattern.FindAllStringSubmatch(line, -1) {
		words = append(words, word{match[1], plain(json.RawMessage(match[2]))})
	}
	return words
}

func (s *script) read(words []word, line int) error {
	switch words[0] {
	case word{value: "set"}:
		return s.readSettings(words[1:])
	case word{value: "load"}:
		s.loading = true
		return nil
	case word{value: "expect"}:
		s.loading = false
		return s.readExpect(words[1:], line)
	}
	if s.loading {
		return s.readEvent(words)
	}
	return s.readRow(words)
}

func (s *script) readExpect(words []word, line int) error {
	e := expectation{line: line, loaded: len(s.events), now: day.AddDate(0, 0, 1)}
	var err error
	if len(words) > 0 {
		e.now, err = clock(words[0].value)
	}
	s.expects = append(s.expects, e)
	return err
}

func (s *script) readRow(words []word) error {
	if len(s.expects) == 0 {
		return errors.New("no expect before it")
	}
	e := &s.expects[len(s.expects)-1]
	e.rows = append(e.rows, words)
	return nil
}

func (s *script) readSettings(words []word) (err error) {
	for _, w := range words {
		switch w.name {
		case "idle_timeout":
			s.settings.IdleTimeout, err = time.ParseDuration(w.value)
		case "active_gap_cap":
			s.settings.ActiveGapCap, err = time.ParseDuration(w.value)
		case "quick_answer":
			s.settings.QuickAnswer, err = time.ParseDuration(w.value)
		case "frustration_words":
			s.settings.FrustrationWords = strings.Split(w.value, ",")
		case "frustration_sentiment":
			s.settings.FrustrationSentiment, err = strconv.Atoi(w.value)
		default:
			err = fmt.Errorf("no such setting: %q", w.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clock reads a time of the scripts' day.
func clock(text string) (time.Time, error) {
	return time.Parse("2006-01-02 15:04:05", day.Format("2006-01-02 ")+text)
}

var kinds = map[string]rapport.Event{
	"join":  {Type: rapport.RoomJoin},
	"user":  {Type: rapport.ChatPush, Role: rapport.RoleUser},
	"agent": {Type: rapport.ChatPush, Role: rapport.RoleAgent},
	"end":   {Type: rapport.SessionEnd},
	"error": {Type: rapport.AgentError},
}

func (s *script) readEvent(words []word) error {
	if len(words) < 2 {
		return errors.New("an event needs a time and a kind")
	}
	at, err := s.eventTime(words[0].value)
	if err != nil {
		return err
	}
	s.last = at
	e, known := kinds[words[1].value]
	if role, ok := strings.CutPrefix(words[1].value, "role:"); ok {
		e = rapport.Event{Type: rapport.ChatPush, Role: role}
	} else if !known {
		e = rapport.Event{Type: words[1].value}
	}
	e.OccurredAt, e.AgentID, e.SessionID = at, "a", "s"
	e.Fingerprint = sha256.Sum256(fmt.Append(nil, at, words[1:]))
	for _, w := range words[2:] {
		if err := readDetail(&e, w); err != nil {
			return err
		}
	}
	s.keep(e)
	return nil
}

// keep gives the event a position, unless it is a duplicate.
func (s *script) keep(e rapport.Event) {
	twin := slices.IndexFunc(s.events, func(o rapport.Event) bool { return o.Fingerprint == e.Fingerprint })
	if twin < 0 {
		s.head++
		e.Position = s.head
	} else {
		e.Position = s.events[twin].Position
	}
	s.events = append(s.events, e)
}

func (s *script) eventTime(text string) (time.Time, error) {
	if after, ok := strings.CutPrefix(text, "+"); ok {
		gap, err := time.ParseDuration(after)
		return s.last.Add(gap), err
	}
	return clock(text)
}

func readDetail(e *rapport.Event, w word) error {
	var err error
	switch w.name {
	case "":
		e.Text = w.value
	case "agent":
		e.AgentID = w.value
	case "session":
		e.SessionID = w.value
	case "user":
		e.UserID = w.value
	case "room":
		e.RoomName = w.value
	case "reason":
		e.EndReason = w.value
	case "healed":
		e.HealedFrom = w.value
	case "participants":
		n, perr := strconv.ParseInt(w.value, 10, 32)
		e.Participants, err = new(int32(n)), perr
	case "rating":
		rating, perr := strconv.ParseFloat(w.value, 64)
		e.Rating, err = &rating, perr
	case "print":
		_, err = hex.Decode(e.Fingerprint[:1], []byte(w.value))
	default:
		err = fmt.Errorf("no such detail: %q", w.name)
	}
	return err
}
