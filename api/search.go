package api

import (
	"context"
	"errors"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
	"rapport/api/access"
	"rapport/store"
)

func (s *server) registerSearch() {
	list(s, huma.Operation{
		OperationID: "search-messages", Path: "/messages", Tags: []string{"sessions"},
		Summary: "Search messages",
		Description: "The newest received first. Words are compared in lower case, whole, in any language; what stands between blanks and punctuation is a word. " +
			"The first 100 kB of a text are searched. A page may have fewer rows than limit, or none, while has_more is true: read on with next_cursor. " +
			"A new message is found within seconds, or later while the server has much to do; min_position waits for it.",
	}, s.searchMessages)
}

// foundMessage is a message that was found.
type foundMessage struct {
	Position    int64      `json:"position" doc:"Place in the log."`
	AgentID     string     `json:"agent_id" doc:"The agent; empty if absent."`
	SessionID   string     `json:"session_id" doc:"The sender's session; empty if absent: the message is then part of no session."`
	StartedAt   *timestamp `json:"started_at" nullable:"true" doc:"started_at of its session; null until it is folded."`
	OccurredAt  timestamp  `json:"occurred_at" doc:"When it was said, by the sender's clock."`
	Role        string     `json:"role" doc:"user, agent, or any other as the sender names it."`
	Snippet     string     `json:"snippet" doc:"HTML: a part of the text, of 240 characters at most, with the words that were found in <mark>; all else is escaped." example:"Where is the <mark>table</mark> for two?"`
	Beginning   string     `json:"beginning" doc:"The first 300 characters of the text, as they are."`
	CharCount   int        `json:"char_count" doc:"Unicode code points of the whole text."`
	MessageType string     `json:"message_type" doc:"text, audio or image."`
	Language    string     `json:"language" doc:"As the sender tells it; empty if absent."`
	UserID      string     `json:"user_id" doc:"The visitor; empty if absent."`
}

// maxBeginning is how many characters of a text are shown as they are.
const maxBeginning = 300

// showFound shows what was found by some words.
func showFound(words []string) func(*store.FoundMessage) foundMessage {
	return func(m *store.FoundMessage) foundMessage {
		return foundMessage{
			Position: m.Position, AgentID: m.AgentID, SessionID: m.SessionID, StartedAt: (*timestamp)(m.SessionStartedAt),
			OccurredAt: timestamp(m.OccurredAt), Role: m.Role, Snippet: snippet(m.Text, words), Beginning: beginningOf(m.Text),
			CharCount: m.CharCount, MessageType: m.MessageType, Language: m.Language, UserID: m.UserID,
		}
	}
}

func beginningOf(text string) string {
	n := 0
	for i := range text {
		if n == maxBeginning {
			return text[:i]
		}
		n++
	}
	return text
}

type searchInput struct {
	ReadParams
	PageParams
	Q       string    `query:"q" doc:"What to look for, as in a web search: words that are all there; \"a phrase\" in quotes; this or that; -without. Without it, all messages. 1 kB at most." example:"refund or \"money back\" -voucher"`
	AgentID string    `query:"agent_id" doc:"Messages with this agent alone."`
	Role    string    `query:"role" doc:"user, agent, or any other as the sender names it."`
	From    timeParam `query:"from" doc:"Messages that occurred then or later; RFC 3339."`
	To      timeParam `query:"to" doc:"Messages that occurred before; RFC 3339."`
}

// maxQuery bounds q, in bytes.
const maxQuery = 1024

// query is what the input asks of the store, but for its page, and the hash of it.
func (in *searchInput) query() (store.SearchQuery, string, error) {
	switch {
	case in.From.set && in.To.set && !in.From.at.Before(in.To.at):
		return store.SearchQuery{}, "", badParameter("from", "must be before to")
	case len(in.Q) > maxQuery:
		return store.SearchQuery{}, "", badParameter("q", "longer than 1 kB: look for fewer words")
	}
	query := store.SearchQuery{
		Words: rapport.CleanText(in.Q), AgentID: rapport.CleanText(in.AgentID), Role: rapport.CleanText(in.Role),
		From: in.From.bound(), To: in.To.bound(),
	}
	hash, err := listHash("messages", query)
	query.Limit = in.Limit
	return query, hash, err
}

// messagePlace is behind which message a page begins.
type messagePlace struct {
	Position int64 `json:"p"`
}

func (p messagePlace) isValid() bool { return p.Position > 0 }

func (s *server) searchMessages(ctx context.Context, in *searchInput) (*answer[page[foundMessage]], error) {
	query, hash, err := in.query()
	if err != nil {
		return nil, err
	}
	if in.Cursor != "" {
		from, err := decodeCursor[messagePlace](in.Cursor, hash)
		if err != nil {
			return nil, err
		}
		query.Before = from.Place.Position
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	if err := s.waitFor(ctx, store.SearchFollower, "the search has", in.ReadParams); err != nil {
		return nil, err
	}
	query.Agents = access.Of(ctx).Agents
	found, err := s.DB.Search(ctx, query)
	switch {
	case errors.Is(err, store.ErrNoWords):
		return nil, badParameter("q", "has no word to look for: give it letters or digits, or leave it out for all messages")
	case errors.Is(err, store.ErrUnreadable):
		return nil, badParameter("q", "can't be read: look for fewer words, with - before a word at most once")
	case err != nil:
		return nil, err
	}
	next := ""
	if found.Before > 0 {
		next = cursor[messagePlace]{Version: cursorVersion, List: hash, Place: messagePlace{found.Before}}.encode()
	}
	return newPage(found.Messages, showFound(found.Words), next), nil
}
