package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"rapport/store/internal/dbsqlc"
)

// SearchQuery asks for messages, the newest received first.
type SearchQuery struct {
	Words   string // as in a web search: words, "a phrase", or, -not; empty: any message
	AgentID string
	Agents  []string // of these alone; empty: of any
	Role    string
	From    time.Time // occurred then or later; zero: at any time
	To      time.Time // occurred before; zero: at any time
	Before  int64     // positions below this one; 0: from the newest
	Limit   int

	Patience time.Duration // after which a page ends, short or empty; 2 s if zero
}

// FoundMessage is a message that a search has found.
type FoundMessage struct {
	Position         int64
	AgentID          string
	SessionID        string
	SessionStartedAt *time.Time // nil until it is folded
	OccurredAt       time.Time
	Role             string
	MessageType      string
	Language         string
	UserID           string
	CharCount        int    // of its text
	Text             string // its first 100 kB, which are searched
}

// Found is a page of messages.
type Found struct {
	Messages []FoundMessage
	Before   int64    // the position behind which the next page begins; 0 if there is none
	Words    []string // that were looked for, as Postgres knows them: in lower case
}

// ErrNoWords says that there is nothing to look for.
var ErrNoWords = errors.New("it has no word to look for")

// ErrUnreadable says that Postgres can't read what to look for: "not" too often, say.
var ErrUnreadable = errors.New("it can't be read as words to look for")

// The pace of a search.
const (
	searchPatience = 2 * time.Second
	smallestBlock  = 12 // 2^12 positions, as search_marks has them
	blockStep      = 4
	greatestBlock  = 24
	denseRows      = 1 << smallestBlock    // in a block with more of them, its parts are searched one by one
	quickBlocks    = 20 * time.Millisecond // after blocks that took less, more may be searched at once
	partRows       = 64                    // whose texts are read at once
	maxFoundBytes  = 4 << 20               // of texts, from which on a page ends
)

// Search finds a page of messages. It may be shorter than its limit, or empty, with more
// to come: if the search takes long, or the texts are large. A query without any word is
// ErrNoWords, one that Postgres can't read ErrUnreadable.
func (db *DB) Search(ctx context.Context, query SearchQuery) (Found, error) {
	s, err := db.newSearch(ctx, &query)
	if err == nil {
		err = s.page(ctx, query.Limit)
	}
	if err != nil {
		return Found{}, fmt.Errorf("searching messages: %w", err)
	}
	if s.next > 0 {
		s.found.Before = s.next + 1
	}
	return s.found, nil
}

// search walks from the newest position to the oldest.
type search struct {
	q        *dbsqlc.Queries
	query    dbsqlc.SearchBlocksParams
	next     int64 // what is above is searched; nothing is left if it is not positive
	length   int64 // of what is searched next, in positions
	bytes    int   // of the texts that were found
	found    Found
	deadline time.Time
}

func (db *DB) newSearch(ctx context.Context, query *SearchQuery) (*search, error) {
	at, err := db.q.SearchStanding(ctx)
	if err != nil {
		return nil, err
	}
	s := &search{q: db.q, next: at.Position, length: 1 << smallestBlock, deadline: time.Now().Add(searchPatience)}
	if query.Patience != 0 {
		s.deadline = time.Now().Add(query.Patience)
	}
	if query.Before > 0 {
		s.next = min(s.next, query.Before-1)
	}
	s.query = dbsqlc.SearchBlocksParams{
		Agents: orNone(query.Agents), Role: query.Role, Since: beforeAll, Until: afterAll, Enough: denseRows + 1, Times: []string{},
	}
	if query.Words != "" {
		read, err := db.q.SearchRead(ctx, query.Words)
		switch stateClass(err) {
		case "22", "42", "54", "XX":
			return nil, fmt.Errorf("%w (%w)", ErrUnreadable, err)
		}
		if err != nil {
			return nil, err
		}
		if read.Query == "" {
			return nil, ErrNoWords
		}
		s.query.Query, s.found.Words = read.Query, lexemesOf(read.Wanted)
	}
	s.ofAgent(query.AgentID)
	s.within(query.From, query.To, at.ReceivedAt)
	return s, nil
}

// ofAgent limits the search to one agent.
func (s *search) ofAgent(agentID string) {
	switch agents := s.query.Agents; {
	case agentID == "":
	case len(agents) > 0 && !slices.Contains(agents, agentID):
		s.next = 0
	default:
		s.query.Agents = []string{agentID}
	}
}

// within limits the search to a time. Nothing is much later than the newest receipt.
func (s *search) within(from, to, newest time.Time) {
	if from.IsZero() && to.IsZero() {
		return
	}
	if !from.IsZero() {
		s.query.Since = from
	}
	if !to.IsZero() {
		s.query.Until = to
	}
	until := time.Date(newest.UTC().Year()+2, time.January, 1, 0, 0, 0, 0, time.UTC)
	if !to.IsZero() && to.Before(until) {
		until = to
	}
	if s.query.Times = timeMarks(later(earliest, from), until); len(s.query.Times) == 0 {
		s.next = 0
	}
}

// timeMarks are the marks of the days from one time to another, but of whole months and
// years where those fit in.
func timeMarks(from, until time.Time) []string {
	marks := []string{}
	for day := from.UTC().Truncate(24 * time.Hour); day.Before(until); {
		month, year := day.AddDate(0, 1, 0), day.AddDate(1, 0, 0)
		switch {
		case day.YearDay() == 1 && !year.After(until):
			marks, day = append(marks, fmt.Sprintf("y%d", day.Year())), year
		case day.Day() == 1 && !month.After(until):
			marks, day = append(marks, fmt.Sprintf("m%d", 12*day.Year()+int(day.Month())-1)), month
		default:
			marks, day = append(marks, "d"+strconv.FormatInt(day.Unix()/86400, 10)), day.AddDate(0, 0, 1)
		}
	}
	return marks
}

func (s *search) isLate() bool { return !time.Now().Before(s.deadline) }

// lexeme is one of a tsquery, as Postgres writes it.
var lexeme = regexp.MustCompile(`'(?:[^'\\]|''|\\.)*'`)

// lexemesOf are the words of a tsquery.
func lexemesOf(query string) []string {
	quoted := lexeme.FindAllString(query, -1)
	for i, q := range quoted {
		quoted[i] = strings.NewReplacer("''", "'", `\\`, `\`).Replace(q[1 : len(q)-1])
	}
	return quoted
}

// page finds the messages of a page.
func (s *search) page(ctx context.Context, limit int) error {
	for s.next > 0 && len(s.found.Messages) < limit && s.bytes < maxFoundBytes {
		positions, err := s.collect(ctx, limit-len(s.found.Messages))
		if err != nil {
			return err
		}
		if err := s.readAll(ctx, positions); err != nil || s.isLate() {
			return err
		}
	}
	return nil
}

// collect finds the last positions, at most n, up to where the search is, and moves on.
// There are fewer if nothing is left, or if it is late.
func (s *search) collect(ctx context.Context, n int) ([]int64, error) {
	var positions []int64
	for {
		began, from, length := time.Now(), s.next, s.length
		more, err := s.blocks(ctx, sizeOf(length), blocksOf(length), n-len(positions))
		if err != nil {
			return nil, err
		}
		positions = append(positions, more...)
		if len(positions) == n || s.next <= 0 || s.isLate() {
			return positions, nil
		}
		if s.length == length && time.Since(began) < quickBlocks {
			s.length = nextLength(length, from-s.next, int64(len(more)), int64(n-len(positions)))
		}
	}
}

// nextLength is how much to search after a stretch of some length, where so many of the
// positions that were searched had it: what should have the missing ones too, if they are
// as dense there, so that hardly more is looked at than is shown.
func nextLength(length, searched, hits, missing int64) int64 {
	most := min(length<<blockStep, 1<<greatestBlock)
	if hits == 0 {
		return most
	}
	return min(max(searched*missing/hits*5/4, 1<<smallestBlock), most)
}

// sizeOf is the size of the blocks that a stretch is searched in.
func sizeOf(length int64) int {
	size := smallestBlock
	for size < greatestBlock && length>>(size+blockStep) > 0 {
		size += blockStep
	}
	return size
}

func blocksOf(length int64) int64 { return (length-1)>>sizeOf(length) + 1 }

// readAll reads messages, unless the texts become too large for one page: it then goes
// back to where the next one begins.
func (s *search) readAll(ctx context.Context, positions []int64) error {
	for part := range slices.Chunk(positions, partRows) {
		if s.bytes >= maxFoundBytes {
			s.next = part[0]
			return nil
		}
		if err := s.read(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// blocks finds the last positions, at most n, of so many blocks of 2^size positions up to
// where the search is, and moves on. Where they have many of them it looks into each
// block, or into the parts of a single one, the last one first, until it has enough or it
// is late.
func (s *search) blocks(ctx context.Context, size int, count int64, n int) ([]int64, error) {
	query := s.query
	query.Size, query.Last, query.UpTo, query.MaxRows = int32(size), s.next>>size, s.next, int32(n)
	query.First = max(query.Last-count+1, 0)
	begin := query.First << size
	found, err := s.q.SearchBlocks(ctx, query)
	if err != nil {
		return nil, err
	}
	if found.Seen > denseRows {
		s.length = 1 << smallestBlock // from where it goes on behind what is dense
		if query.First == query.Last {
			size -= blockStep
		}
		return s.parts(ctx, size, begin, n)
	}
	s.next = begin - 1
	if len(found.Positions) == n {
		s.next = found.Positions[n-1] - 1
	}
	return found.Positions, nil
}

func (s *search) parts(ctx context.Context, size int, begin int64, n int) ([]int64, error) {
	var positions []int64
	for {
		part, err := s.blocks(ctx, size, 1, n-len(positions))
		if err != nil {
			return nil, err
		}
		positions = append(positions, part...)
		if len(positions) == n || s.next <= 0 || s.next < begin || s.isLate() {
			return positions, nil
		}
	}
}

func (s *search) read(ctx context.Context, positions []int64) error {
	rows, err := s.q.SearchMessages(ctx, dbsqlc.SearchMessagesParams{Positions: positions, Agents: s.query.Agents, Role: s.query.Role})
	if err != nil {
		return err
	}
	for _, row := range rows {
		s.found.Messages = append(s.found.Messages, FoundMessage{
			Position: row.Position, AgentID: row.AgentID, SessionID: row.SessionID, SessionStartedAt: row.SessionStartedAt,
			OccurredAt: row.OccurredAt, Role: row.Role, MessageType: row.MessageType, Language: row.Language, UserID: row.UserID,
			CharCount: int(row.CharCount), Text: row.Text,
		})
		s.bytes += len(row.Text)
	}
	return nil
}
