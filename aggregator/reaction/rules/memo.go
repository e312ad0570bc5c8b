package rules

import (
	"sync"

	"rapport"
)

// memo keeps what was found out about texts: several rules ask the same of one, and each
// is compared with those that come after it.
type memo struct {
	mu       sync.Mutex
	now, was map[string]*learned // those asked of late, and before
	bytes    int                 // of the texts of now
}

// What is kept: about twice this much, of texts that are not too long. Longer ones are
// rare, and cost more to keep than to ask again.
const (
	memoBytes     = 4 << 20
	memoTextBytes = 2 << 10
	memoCost      = 200 // bytes, besides the text: about
)

var texts memo

// learned is what is known of a text. Each part is found out when it is asked for.
type learned struct {
	text      string
	words     func() []string
	trigrams  func() []uint64
	sentiment func() float64
}

func learn(text string) *learned {
	return &learned{
		text:      text,
		words:     sync.OnceValue(func() []string { return words(text) }),
		trigrams:  sync.OnceValue(func() []uint64 { return trigrams(text) }),
		sentiment: sync.OnceValue(func() float64 { return thousandths(rapport.Sentiment(text)) }),
	}
}

// of tells of a text.
func (m *memo) of(text string) *learned {
	if len(text) > memoTextBytes {
		return learn(text)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.now[text]; known != nil {
		return known
	}
	known := m.was[text]
	if known == nil {
		known = learn(text)
	}
	if m.now == nil || m.bytes > memoBytes {
		m.was, m.now, m.bytes = m.now, make(map[string]*learned), 0
	}
	m.now[text] = known
	m.bytes += len(text) + memoCost
	return known
}

func (m *memo) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.was, m.bytes = nil, nil, 0
}

// ForgetTexts has nothing of any text stay in memory that rules were asked of: what is
// erased must not.
func ForgetTexts() { texts.forget() }
