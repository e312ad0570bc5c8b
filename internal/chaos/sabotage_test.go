package chaos

import (
	"context"
	"strings"
	"testing"
	"time"
)

// sabotages is harm done to what a server has kept, and what the rig has to say of it.
var sabotages = []struct{ what, sql, says string }{
	{"", "ALTER TABLE events DISABLE TRIGGER ALL", ""},
	{"a row that is gone", "DELETE FROM events WHERE position = 3", "was answered 200 and is not in the log"},
	{"a gap", "", "position 4 follows 2"},
	{"a payload that is not what was sent", "UPDATE events SET payload = (payload::text || ' ')::json WHERE position = 5", "not to the byte"},
	{"rows that changed places", "UPDATE events SET position = 15 - position WHERE position IN (7, 8)", "was told to be at position 7 and is at 8"},
	{"", "CREATE TABLE twin AS SELECT * FROM events WHERE position = 10", ""},
	{"", "UPDATE twin SET fingerprint = sha256('other'), position = (SELECT position + 1 FROM log_head)", ""},
	{"a row that is there twice", "INSERT INTO events SELECT * FROM twin", "is in the log twice"},
	{"a wrong head", "", "the head is"},
	{
		"a quarantined body that is gone", "DELETE FROM quarantine WHERE id = (SELECT min(id) FROM quarantine)",
		"was answered 422 and is not in the quarantine",
	},
	{"what verify finds", "UPDATE sessions SET message_count = message_count + 1", "rapport verify"},
}

// TestTheRigNotices keeps the rig from passing what it should find.
func TestTheRigNotices(t *testing.T) {
	t.Parallel()
	result := sharedRig(t).Run(t.Context(), Scenario{Name: "sabotaged", Run: sabotaged}, Scale{Rate: 400, Within: time.Minute})
	told := strings.Join(result.Violations, "\n")
	for _, s := range sabotages {
		if !strings.Contains(told, s.says) {
			t.Errorf("%s: want %q among\n%s", s.what, s.says, told)
		}
	}
}

func sabotaged(ctx context.Context, t *Trial) error {
	s, err := t.serve(ctx, "")
	if err != nil {
		return err
	}
	l := t.load(s.addr, t.Rate)
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	l.end()
	if err := t.check(ctx); err != nil {
		return err
	}
	link, err := t.database("rapport_owner")
	if err != nil {
		return err
	}
	for _, s := range sabotages {
		if err := do(ctx, link, s.sql); err != nil {
			return err
		}
	}
	t.logged = 0 // what was checked is checked again
	for i := range t.ledger.entries {
		t.ledger.entries[i].found = 0
	}
	return t.check(ctx)
}
