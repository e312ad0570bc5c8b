package reference

import (
	"math/big"
	"slices"

	"rapport"
)

// turn is a run of user messages: the last of them, and the agent message
// after it, if any.
type turn struct {
	last   rapport.Event
	answer *rapport.Event
}

// turns finds each user message that no other user message follows, among
// what users and agents said.
func turns(w window) []turn {
	said := keep(w, func(e rapport.Event) bool {
		return e.Type == rapport.ChatPush && (e.Role == rapport.RoleUser || e.Role == rapport.RoleAgent)
	})
	var found []turn
	for i, e := range said {
		switch {
		case e.Role != rapport.RoleUser:
		case i+1 == len(said):
			found = append(found, turn{last: e})
		case said[i+1].Role == rapport.RoleAgent:
			found = append(found, turn{last: e, answer: &said[i+1]})
		}
	}
	return found
}

// responses are the microseconds to each answer, in order.
func responses(w window) []int64 {
	var all []int64
	for _, t := range turns(w) {
		if t.answer != nil {
			all = append(all, micros(*t.answer)-micros(t.last))
		}
	}
	return all
}

// responsesMS are the responses, each cut to whole milliseconds.
func responsesMS(w window) []int64 {
	var all []int64
	for _, us := range responses(w) {
		all = append(all, us/1000)
	}
	return all
}

func responseMSTotal(w window) *int64 {
	all := responsesMS(w)
	if len(all) == 0 {
		return nil
	}
	var total int64
	for _, ms := range all {
		total += ms
	}
	return &total
}

func responseMSMax(w window) *int64 {
	all := responsesMS(w)
	if len(all) == 0 {
		return nil
	}
	return new(slices.Max(all))
}

func firstResponseMS(w window) *int64 {
	all := responsesMS(w)
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

func avgResponseS(w window) *float64 {
	total := responseMSTotal(w)
	if total == nil {
		return nil
	}
	mean := big.NewRat(*total, int64(len(responses(w)))*1000)
	return new(float(halfUp(mean, 3)))
}

// quickAnswerCount compares whole microseconds, before anything is cut.
func quickAnswerCount(w window, settings rapport.Settings) int {
	count := 0
	for _, us := range responses(w) {
		if us <= settings.QuickAnswer.Microseconds() {
			count++
		}
	}
	return count
}
