package archive_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rapport"
	"rapport/aggregator"
	"rapport/aggregator/export/archive"
	"rapport/internal/bench/history"
	"rapport/store"
	"rapport/store/storetest"
)

// mentions are the objects that have a text.
func mentions(t testing.TB, dir, text string) []string {
	t.Helper()
	var found []string
	for name, content := range objects(t, dir) {
		if strings.Contains(content, text) {
			found = append(found, name)
		}
	}
	return found
}

// secret is a text that compression leaves as it is.
const secret = "zq8vKx0Wm5TjR2yLb7NsHc4PdGf9"

func sessionObjects(t testing.TB, dir string) map[string]map[string]any {
	t.Helper()
	all := objects(t, dir)
	decoded := make(map[string]map[string]any)
	for _, name := range in(all, "avatar-events/") {
		var object map[string]any
		if err := json.Unmarshal([]byte(all[name]), &object); err != nil {
			t.Errorf("%s: %v\n%s", name, err, all[name])
		}
		decoded[name] = object
	}
	return decoded
}

func TestWhatIsErasedIsGoneFromEveryObject(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 21, 10), directory(t)
	fill(t, db, says(t, "agent", "mine", "user", secret, noon), says(t, "agent", "theirs", "user", "hello", noon))
	f := follower(t, db, dir)
	archived(t, db, f)
	before := objects(t, dir)
	if found := mentions(t, dir, secret); len(found) < 2 {
		t.Fatalf("only %v have the text", found)
	}
	erase(t, db, store.ErasureRequest{Kind: store.EraseSession, SessionID: "mine"})
	todo, err := db.ArchiveTodo(t.Context())
	if err != nil || todo.IsDone() {
		t.Errorf("the archive counts as complete: %+v, %v", todo, err)
	}
	archived(t, db, f)
	if found := mentions(t, dir, secret); len(found) > 0 {
		t.Errorf("%v still have it", found)
	}
	after := objects(t, dir)
	kept := 0
	for name := range before {
		if _, ok := after[name]; ok && strings.HasPrefix(name, "events/") {
			kept++
		}
	}
	if blocks := len(in(before, "events/")); kept < blocks-2 {
		t.Errorf("only %d of %d blocks were left alone", kept, blocks)
	}
	session := sessionObjects(t, dir)["avatar-events/2025-09-28/12/mine-20250928T120000.000000Z.json"]
	if session["erased_at"] == nil || session["user_message_count"] != 1.0 || len(session["transcript"].([]any)) > 0 {
		t.Errorf("the erased session is %v", session)
	}
	requireSame(t, db, restored(t, dir))
}

func TestAClosedSessionHasItsObject(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	fill(t, db,
		says(t, "agent", "closed", "user", "Where is my order <b>#12345</b>?", noon.Add(123456*time.Microsecond)),
		says(t, "agent", "closed", "assistant", "On its way.", noon.Add(3*time.Second)),
		says(t, "agent", "open", "user", "hello", now))
	f := follower(t, db, dir)
	archived(t, db, f)
	const name = "avatar-events/2025-09-28/12/closed-20250928T120000.123456Z.json"
	all := sessionObjects(t, dir)
	session := all[name]
	if len(all) != 1 || session == nil {
		t.Fatalf("the objects are %v", all)
	}
	transcript := session["transcript"].([]any)
	first := transcript[0].(map[string]any)
	if session["status"] != "closed" || session["end_reason"] != "idle" || session["turn_count"] != 1.0 || session["quality_score"] == nil ||
		len(transcript) != 2 || first["role"] != "user" || first["text"] != "Where is my order <b>#12345</b>?" {
		t.Errorf("the object is %v", session)
	}

	// A late event changes it; one before it changes its name.
	fill(t, db, says(t, "agent", "closed", "user", "Thanks!", noon.Add(time.Minute)))
	archived(t, db, f)
	if got := sessionObjects(t, dir)[name]; len(got["transcript"].([]any)) != 3 || got["last_position"] != 4.0 {
		t.Errorf("after a late event it is %v", got)
	}
	fill(t, db, says(t, "agent", "closed", "user", "Hello?", noon.Add(-time.Minute)))
	archived(t, db, f)
	all = sessionObjects(t, dir)
	if got := all["avatar-events/2025-09-28/11/closed-20250928T115900.000000Z.json"]; len(all) != 1 || got == nil {
		t.Errorf("after an earlier event the objects are %v", all)
	}
}

func TestAnySessionIDMakesASafeName(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	ids := []string{"../../etc/passwd", "..", "a/b", "a%2Fb", "Ü ~ \n\"'", "a", strings.Repeat("long", 127), strings.Repeat("long", 128)}
	var events []*rapport.Event
	for _, id := range ids {
		for _, agent := range []string{"agent", "another", ""} {
			events = append(events, says(t, agent, id, "user", "I am "+id+" of "+agent, noon))
		}
	}
	fill(t, db, events...)
	archived(t, db, follower(t, db, dir))
	all := sessionObjects(t, dir)
	if len(all) != len(events) {
		t.Errorf("%d objects of %d sessions", len(all), len(events))
	}
	for name, object := range all {
		text := object["transcript"].([]any)[0].(map[string]any)["text"]
		if want := fmt.Sprintf("I am %s of %s", object["session_id"], object["agent_id"]); text != want {
			t.Errorf("%s says %q, want %q", name, text, want)
		}
	}
}

func TestEscapedNamesAreDistinct(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"session_xyz-789": "session_xyz-789", "..": "%2E%2E", "a/b": "a%2Fb", "ü~": "%C3%BC%7E", "": ""} {
		if got := archive.Escaped(text); got != want {
			t.Errorf("%q is escaped as %q, want %q", text, got, want)
		}
	}
}

// hashInName is what a block's name has besides its positions.
var hashInName = regexp.MustCompile(`-[0-9a-f]{16}`)

func TestAQuietLogIsArchivedAfterTheDelay(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	slow := archive.New(archive.Options{
		DB: db.DB, Watch: db.Watch, Bucket: bucket(t, dir), Decode: decode, Delay: time.Hour, Logger: storetest.Logger(),
	})
	slow.SetBounds(store.BlockBounds{Events: 3, Bytes: 1 << 20})
	step := func(want ...string) {
		t.Helper()
		if _, err := slow.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		names := in(objects(t, dir), "events/")
		for i := range names {
			names[i] = hashInName.ReplaceAllString(names[i], "")
		}
		slices.Sort(names)
		for i := range want {
			want[i] = "events/date=2025-09-28/hour=12/" + want[i]
		}
		if !slices.Equal(names, want) {
			t.Errorf("the blocks are %v, want %v", names, want)
		}
	}
	say := func(n int) {
		for i := range n {
			fill(t, db, says(t, "agent", fmt.Sprint(time.Now().UnixNano()), "user", fmt.Sprint(i), noon))
		}
	}
	step()
	say(1)
	step("000000000001-000000000001.parquet") // it has waited for long enough
	say(1)
	step("000000000001-000000000001.parquet")
	say(2)
	step("000000000001-000000000003.parquet") // full
	quick := follower(t, db, dir)
	handOver(t, db)
	if _, err := quick.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	requireWhole(t, db, dir)
}

func TestARebuildHasSessionsWrittenAgain(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	fill(t, db, says(t, "agent", "s", "user", "hello", noon))
	f := follower(t, db, dir)
	archived(t, db, f)
	name := in(objects(t, dir), "avatar-events/")[0]
	want := objects(t, dir)[name]
	write(t, dir, name, "{}")
	r, err := store.BeginRebuild(t.Context(), db.URL("rapport_owner"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := aggregator.Rebuild(t.Context(), r, settings(t, db), func(aggregator.RebuildProgress) {}); err != nil {
		t.Fatal(err)
	}
	archived(t, db, f)
	if got := objects(t, dir)[name]; got != want {
		t.Errorf("the session is %q, want %q", got, want)
	}
}

func TestOneProcessArchivesAtATime(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 22, 3), directory(t)
	one, other := follower(t, db, dir), follower(t, db, dir)
	archived(t, db, one)
	if isOurs, err := other.Step(t.Context()); isOurs || err != nil {
		t.Errorf("two archive at once: %v, %v", isOurs, err)
	}
	handOver(t, db)
	archived(t, db, other)
	if isOurs, err := one.Step(t.Context()); isOurs || err != nil {
		t.Errorf("two archive at once: %v, %v", isOurs, err)
	}
}

func TestAnotherLogsArchiveIsNotOverwritten(t *testing.T) {
	t.Parallel()
	db, dir := filled(t, 23, 3), directory(t)
	archived(t, db, follower(t, db, dir))
	before := objects(t, dir)
	for what, other := range map[string]*storetest.Database{"empty": storetest.New(t), "filled": filled(t, 24, 3)} {
		if _, err := follower(t, other, dir).Step(t.Context()); !errors.Is(err, archive.ErrOtherLog) {
			t.Errorf("a %s database: %v, want ErrOtherLog", what, err)
		}
	}
	if after := objects(t, dir); len(after) != len(before) {
		t.Errorf("%d objects became %d", len(before), len(after))
	}

	// A new place gets everything.
	elsewhere := directory(t)
	handOver(t, db)
	archived(t, db, follower(t, db, elsewhere))
	requireWhole(t, db, elsewhere)
}

func TestAnArchiveIsAFifthOfTheJSON(t *testing.T) {
	t.Parallel()
	db, dir := storetest.New(t), directory(t)
	plan := history.Plan{Sessions: 500, Seed: 1, Until: noon, Days: 4}
	n, err := plan.Load(t.Context(), db.URL("rapport_owner"), func(int64, time.Time) {})
	if err != nil {
		t.Fatal(err)
	}
	f := archive.New(archive.Options{DB: db.DB, Watch: db.Watch, Bucket: bucket(t, dir), Decode: decode, Logger: storetest.Logger()})
	if _, err := f.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	size := 0
	for name, content := range objects(t, dir) {
		if !strings.HasPrefix(name, "avatar-events/") {
			size += len(content)
		}
	}
	bodies := storetest.Query(t, db, "postgres", pgx.RowTo[int64], "SELECT sum(octet_length(payload::text)) FROM events")[0]
	t.Logf("%d events: %d of %d bytes (%.3f)", n, size, bodies, float64(size)/float64(bodies))
	if float64(size) > 0.2*float64(bodies) {
		t.Errorf("%d events have %d bytes of JSON, and %d in the archive", n, bodies, size)
	}
}
