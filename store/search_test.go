package store_test

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/store"
	"rapport/store/storetest"
)

// said is a message of an agent's session.
func said(n int, agent, role, text string, at time.Time) *rapport.Event {
	e := message(text, at)
	e.AgentID, e.Role, e.Payload = agent, role, []byte("{}")
	e.Fingerprint = sha256.Sum256(fmt.Appendf(nil, "%d %s", n, text))
	return e
}

// says appends a message each, a minute apart.
func says(t *testing.T, db *storetest.Database, texts ...string) {
	t.Helper()
	events := make([]*rapport.Event, len(texts))
	for i, text := range texts {
		events[i] = said(i, "a", rapport.RoleUser, text, noon.Add(time.Duration(i)*time.Minute))
	}
	appendAll(t, db, events...)
	fill(t, db)
}

// fill makes all that there is searchable.
func fill(t *testing.T, db *storetest.Database) {
	t.Helper()
	for {
		step, err := db.FillSearch(t.Context(), 1000)
		if err != nil || step.Busy {
			t.Fatal(err, step)
		}
		if step.Position == step.Head {
			return
		}
	}
}

// search reads all pages of a query, and the positions in the order in which they came.
func search(t *testing.T, db *storetest.Database, query store.SearchQuery) []int64 {
	t.Helper()
	query.Limit = cmp.Or(query.Limit, 1000)
	var found []int64
	for {
		page, err := db.Search(t.Context(), query)
		if err != nil {
			t.Fatalf("%+v: %v", query, err)
		}
		if len(page.Messages) > query.Limit {
			t.Fatalf("%d rows, limit %d", len(page.Messages), query.Limit)
		}
		found = append(found, positionsOf(page)...)
		if page.Before == 0 {
			return found
		}
		query.Before = page.Before
	}
}

func positionsOf(page store.Found) []int64 {
	positions := make([]int64, len(page.Messages))
	for i, m := range page.Messages {
		positions[i] = m.Position
	}
	return positions
}

func wantFound(t *testing.T, db *storetest.Database, query store.SearchQuery, want ...int64) {
	t.Helper()
	if got := search(t, db, query); !slices.Equal(got, want) {
		t.Errorf("%q found %v, want %v", query.Words, got, want)
	}
}

func TestSearchingAsInAWebSearch(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	says(t, db,
		"The quick brown fox",             // 1
		"The lazy dog, and the quick one", // 2
		"FOX and dog: brown!",             // 3
		"Où est le café? Ёлка, 東京 ÉTÉ",    // 4
		"",                                   // 5
		"mail me at jane@example.com or not", // 6
		"foxes",                              // 7
	)
	for words, want := range map[string][]int64{
		"":                       {7, 6, 5, 4, 3, 2, 1},
		"fox":                    {3, 1},
		"Fox":                    {3, 1},
		"quick fox":              {1},
		"fox or lazy":            {3, 2, 1},
		"fox OR lazy":            {3, 2, 1},
		`"brown fox"`:            {1},
		`"fox brown"`:            nil,
		`"quick brown" or "dog"`: {3, 2, 1},
		"fox -quick":             {3},
		"-quick":                 {7, 6, 5, 4, 3},
		`-"brown fox" brown`:     {3},
		"café":                   {4},
		"cafe":                   nil,
		"été":                    {4},
		"ЁЛКА":                   {4},
		"東京":                     {4},
		"jane@example.com":       {6},
		"nobody said this":       nil,
		`"unbalanced fox`:        nil,
		`fox "`:                  {3, 1},
		"fox:* & dog | !lazy":    nil,
		"the fox' \\ dog":        nil,
	} {
		wantFound(t, db, store.SearchQuery{Words: words}, want...)
	}
	for _, words := range []string{"?!", "-", `""`, " ", "(((", "or", "\uFFFD"} {
		_, err := db.Search(t.Context(), store.SearchQuery{Words: words, Limit: 1})
		if err != nil && !errors.Is(err, store.ErrNoWords) {
			t.Errorf("%q: %v", words, err)
		}
	}
	if _, err := db.Search(t.Context(), store.SearchQuery{Words: "?!", Limit: 1}); !errors.Is(err, store.ErrNoWords) {
		t.Errorf("?!: %v, want ErrNoWords", err)
	}
}

func TestSearchFilters(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	long := strings.Repeat("x", 5000)
	day := 24 * time.Hour
	appendAll(t, db,
		said(1, "a", "user", "hello", noon), said(2, "b", "agent", "hello", noon.Add(day)),
		said(3, "a", "agent", "hello", noon.Add(-400*day)), said(4, long, "it's \\ "+long, "hello", noon.Add(2*day)),
		said(5, "", "", "hello", noon.Add(-40*day)),
	)
	fill(t, db)
	for _, c := range []struct {
		query store.SearchQuery
		want  []int64
	}{
		{store.SearchQuery{AgentID: "a"}, []int64{3, 1}},
		{store.SearchQuery{AgentID: "a", Agents: []string{"a", "b"}}, []int64{3, 1}},
		{store.SearchQuery{AgentID: "a", Agents: []string{"b"}}, nil},
		{store.SearchQuery{Agents: []string{"b", long}}, []int64{4, 2}},
		{store.SearchQuery{Role: "agent"}, []int64{3, 2}},
		{store.SearchQuery{Role: "it's \\ " + long}, []int64{4}},
		{store.SearchQuery{AgentID: "a", Role: "agent"}, []int64{3}},
		{store.SearchQuery{From: noon}, []int64{4, 2, 1}},
		{store.SearchQuery{From: noon.Add(1)}, []int64{4, 2, 1}}, // times are whole microseconds
		{store.SearchQuery{From: noon.Add(time.Microsecond)}, []int64{4, 2}},
		{store.SearchQuery{To: noon}, []int64{5, 3}},
		{store.SearchQuery{To: noon.Add(time.Microsecond)}, []int64{5, 3, 1}},
		{store.SearchQuery{From: noon.Add(-40 * day), To: noon.Add(2 * day)}, []int64{5, 2, 1}},
		{store.SearchQuery{From: noon.Add(-800 * day), To: noon.Add(-399 * day)}, []int64{3}},
		{store.SearchQuery{From: noon.Add(1000 * day)}, nil},
		{store.SearchQuery{To: noon.Add(-20000 * day)}, nil},
		{store.SearchQuery{Before: 3}, []int64{2, 1}},
	} {
		for _, words := range []string{"hello", ""} {
			c.query.Words = words
			wantFound(t, db, c.query, c.want...)
		}
	}
}

func TestEveryTextIsSearchable(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	var distinct, urls strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&distinct, "w%d ", i)
		fmt.Fprintf(&urls, "a%d.bc/d%d-e?f=%d ", i, i, i)
	}
	says(t, db,
		strings.Repeat("x", 1_000_000),                         // 1: one word, of which nothing is kept
		"before "+strings.Repeat("y", 3000)+" behind",          // 2
		distinct.String()+" toolate",                           // 3
		"\uFFFD\uFFFD strange \x01e0 \x02\u0085\u200b end",     // 4
		strings.Repeat("é", 49_999)+"a"+strings.Repeat("ü", 9), // 5: cut in the middle of a character
		urls.String(),                                // 6
		strings.Repeat("a-b_c/d.e@f:", 80_000),       // 7
		strings.Repeat("<b><!-- ", 50_000)+" inside", // 8
		"plain", // 9
	)
	for words, want := range map[string][]int64{
		"before": {2}, "behind": {2}, "w9999": {3}, "toolate": nil, "strange end": {4}, "plain": {9}, "a7.bc": {6}, "": {9, 8, 7, 6, 5, 4, 3, 2, 1},
	} {
		wantFound(t, db, store.SearchQuery{Words: words}, want...)
	}
	found, err := db.Search(t.Context(), store.SearchQuery{Words: "W9999 or it's -end", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"w9999", "it", "s"}; !slices.Equal(found.Words, want) || len(found.Messages[0].Text) != 100_000 {
		t.Errorf("words %q, want %q; %d bytes of text", found.Words, want, len(found.Messages[0].Text))
	}
}

// TestNoTextTakesTheSearchLong has those that Postgres's parser reads again and again.
func TestNoTextTakesTheSearchLong(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	for _, part := range []string{"e@1", "<b><!-- ", "_1", "/~", "./", "a-"} {
		began := time.Now()
		says(t, db, strings.Repeat(part, 20_000)+" "+part)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%q took %v", part, took)
		}
	}
}

func TestPagesOfASearchHaveNoGapAndNothingTwice(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	random := rand.New(rand.NewPCG(1, 2))
	var want []int64
	next := int64(0)
	grow := func(n int) {
		var events []*rapport.Event
		for range n {
			next++
			text := "nothing"
			if random.IntN(10) < 3 {
				text = "something"
			}
			events = append(events, said(int(next), "a", "user", text, noon))
			if text == "something" {
				want = append(want, next)
			}
		}
		appendAll(t, db, events...)
		fill(t, db)
	}
	grow(4500) // more than a block
	slices.Reverse(want)
	known := slices.Clone(want)
	for _, patience := range []time.Duration{time.Nanosecond, time.Minute} {
		query := store.SearchQuery{Words: "something", Limit: 700, Patience: patience}
		var found []int64
		for pages := 0; ; pages++ {
			page, err := db.Search(t.Context(), query)
			if err != nil || pages > 100 {
				t.Fatal(err, pages)
			}
			found = append(found, positionsOf(page)...)
			if page.Before == 0 {
				break
			}
			query.Before = page.Before
			grow(10) // what is newer is on no later page
		}
		if patience == time.Nanosecond && !slices.Equal(found, known) || len(found) < len(known) || !slices.Equal(found[len(found)-len(known):], known) {
			t.Errorf("patience %v: found %d, want %d", patience, len(found), len(known))
		}
	}
}

func TestADenseStretchBehindAnEmptyOneIsFoundFromItsEnd(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	events := make([]*rapport.Event, 8500)
	for i := range events {
		text := "old"
		if i >= 5000 {
			text = "new"
		}
		events[i] = said(i, "a", "user", text, noon)
	}
	appendAll(t, db, events...)
	fill(t, db)
	q := `SELECT seen FROM search_blocks('old', 16, 0, 0, '{}', '', '{}', '-infinity', 'infinity', 8500, 4097, 10)`
	if seen := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], q); seen[0] != 4097 {
		t.Errorf("the stretch is not dense: %v", seen)
	}
	page, err := db.Search(t.Context(), store.SearchQuery{Words: "old", Limit: 3})
	if got := positionsOf(page); err != nil || !slices.Equal(got, []int64{5000, 4999, 4998}) || page.Before != 4998 {
		t.Errorf("found %v, before %d, %v", got, page.Before, err)
	}
	if all := search(t, db, store.SearchQuery{Words: "old"}); len(all) != 5000 || all[4999] != 1 {
		t.Errorf("found %d of 5000", len(all))
	}
}

func TestMessagesFarApartAreFoundInOrder(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	random := rand.New(rand.NewPCG(3, 5))
	for i, gap := range []int{5, 9_000_000, 0, 70, 3_000, 800_000, 40_000, 3_000_000, 3_000, 0, 9_000_000, 400, 40_000, 20_000} {
		db.Exec(t, "rapport_owner", "UPDATE log_head SET position = position + $1", gap)
		var events []*rapport.Event
		for j := range 4 {
			events = append(events, said(4*i+j, "a", "user", []string{"often", "often rare"}[random.IntN(2)], noon))
		}
		appendAll(t, db, events...)
	}
	fill(t, db)
	for _, words := range []string{"rare", "often -rare", "often or rare"} {
		want := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], `SELECT position FROM events
			WHERE to_tsvector('simple', message) @@ websearch_to_tsquery('simple', $1) ORDER BY position DESC`, words)
		for _, limit := range []int{7, 1000} {
			if got := search(t, db, store.SearchQuery{Words: words, Limit: limit}); !slices.Equal(got, want) {
				t.Errorf("%s, limit %d: found %v, want %v", words, limit, got, want)
			}
		}
	}
}

// TestSearchEqualsAFilter compares with what Postgres says of each text alone.
func TestSearchEqualsAFilter(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	random := rand.New(rand.NewPCG(7, 7))
	words := []string{"a", "B", "it's", "re-use", "x@y.de", "/tmp/a", "3.14", "-5", "été", "日本", "a_b", "\x01a", "&", "'", "\\", "<b>", "\uFFFD", "no"}
	phrase := func(n int) string {
		var b strings.Builder
		for range random.IntN(n) {
			b.WriteString(words[random.IntN(len(words))])
			b.WriteString([]string{" ", " ", ", ", "\n", ""}[random.IntN(5)])
		}
		return b.String()
	}
	texts := make([]string, 300)
	for i := range texts {
		texts[i] = phrase(8)
	}
	says(t, db, texts...)
	for range 60 {
		var parts []string
		for range 1 + random.IntN(3) {
			part := strings.TrimSpace(phrase(4))
			parts = append(parts, []string{part, `"` + part + `"`, "-" + part, "or " + part, `-"` + part + `"`}[random.IntN(5)])
		}
		query := strings.Join(parts, " ")
		want := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], `SELECT e.position FROM events e, websearch_to_tsquery('simple', $1) q
			WHERE numnode(q) > 0 AND to_tsvector('simple', e.message) @@ q ORDER BY e.position DESC`, query)
		page, err := db.Search(t.Context(), store.SearchQuery{Words: cmp.Or(query, "?"), Limit: 1000})
		if err != nil && !errors.Is(err, store.ErrNoWords) {
			t.Fatalf("%q: %v", query, err)
		}
		got := positionsOf(page)
		if !slices.Equal(got, want) && len(got)+len(want) > 0 {
			t.Errorf("%q found %v, want %v", query, got, want)
		}
	}
}

func TestTheSearchHasNothingErased(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	appendAll(t, db, said(1, "a", "user", "secret one", noon), said(2, "b", "user", "secret two", noon))
	// The first is searchable already, the second is erased before.
	if _, err := db.FillSearch(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, "rapport_server", "UPDATE followers SET position = 2 WHERE name = 'sessions'")
	for _, agent := range []string{"a", "b"} {
		plan, err := db.PlanErasure(t.Context(), store.ErasureRequest{Kind: store.EraseAgent, AgentID: agent, By: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Erase(t.Context(), plan, nil); err != nil {
			t.Fatal(err)
		}
		db.Exec(t, "rapport_server", "UPDATE followers SET position = (SELECT position FROM log_head) WHERE name = 'sessions'")
	}
	fill(t, db)
	wantFound(t, db, store.SearchQuery{Words: "secret"})
	wantFound(t, db, store.SearchQuery{})
	db.Exec(t, "rapport_owner", "ANALYZE message_search")
	for _, sql := range []string{
		"SELECT count(*) FROM message_search",
		"SELECT count(*) FROM pg_stats WHERE tablename = 'message_search' AND attname = 'words'",
	} {
		if n := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], sql); n[0] != 0 {
			t.Errorf("%s: %d", sql, n[0])
		}
	}
}

func TestTheSearchLetsGoOfWhatIsTooOld(t *testing.T) {
	t.Parallel()
	for name, retention := range map[string]store.Retention{
		"texts":  {Messages: 60 * 24 * time.Hour},
		"events": {Events: 60 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := storetest.New(t)
			old, now := noon.AddDate(0, -5, 0), noon.AddDate(0, -1, 0)
			appendAll(t, db, said(1, "a", "user", "old one", old), said(2, "a", "user", "old two", old), said(3, "a", "user", "one of now", now))
			if _, err := db.FillSearch(t.Context(), 1); err != nil { // the search is behind, and nobody waits for it
				t.Fatal(err)
			}
			db.Exec(t, "rapport_server", "UPDATE followers SET position = 3 WHERE name = 'sessions'")
			wantFound(t, db, store.SearchQuery{Words: "one"}, 1)
			if done, err := db.Retain(t.Context(), retention, "test", noon); err != nil || done.Postponed {
				t.Fatal(done, err)
			}
			wantFound(t, db, store.SearchQuery{})
			fill(t, db)
			wantFound(t, db, store.SearchQuery{}, 3)
			if n := storetest.Query(t, db, "rapport_owner", pgx.RowTo[int64], "SELECT count(*) FROM message_search"); n[0] != 1 {
				t.Errorf("%d rows", n[0])
			}
		})
	}
}

func TestSupersededMessagesAreNotFound(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	healed := said(1, "a", "user", "hello", noon)
	healed.HealedFrom = "record"
	appendAll(t, db, healed, said(2, "a", "user", "hello", noon))
	fill(t, db)
	wantFound(t, db, store.SearchQuery{Words: "hello"}, 2, 1)
	db.Exec(t, "rapport_server", "INSERT INTO superseded VALUES ('a', 's', 1)")
	wantFound(t, db, store.SearchQuery{Words: "hello"}, 2)
	wantFound(t, db, store.SearchQuery{Words: "hello", Limit: 1}, 2)
}

func TestTheSearchCanBeMadeAnew(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	says(t, db, "one", "two")
	if err := store.ResetSearch(t.Context(), db.URL("rapport_owner")); err != nil {
		t.Fatal(err)
	}
	wantFound(t, db, store.SearchQuery{Words: "one"})
	fill(t, db)
	wantFound(t, db, store.SearchQuery{Words: "one"}, 1)
}

func TestOneProcessAtATimeFillsTheSearch(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	says(t, db, "one")
	conn, err := pgx.Connect(t.Context(), db.URL("rapport_server"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), "BEGIN; SELECT FROM followers WHERE name = 'search' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	if step, err := db.FillSearch(t.Context(), 10); err != nil || !step.Busy {
		t.Errorf("%+v, %v", step, err)
	}
}
