package verify_test

import (
	"strings"
	"testing"

	"rapport/internal/verify"
	"rapport/store/storetest"
)

func TestSpools(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	tamper(t, db, "INSERT INTO spools (id, drained_to, updated_at) VALUES ('s', 10, now())")
	for name, test := range map[string]struct {
		spool   verify.Spool
		waiting int64
		want    string // empty if there is no difference
	}{
		"an empty spool":                        {verify.Spool{ID: "s"}, 0, ""},
		"one that was drained, and lies there":  {verify.Spool{ID: "s", Kept: 2, Last: 10, Records: 8}, 0, ""},
		"one that goes on where it was drained": {verify.Spool{ID: "s", Kept: 10, Last: 14, Records: 4}, 4, ""},
		"one that was drained in part":          {verify.Spool{ID: "s", Kept: 7, Last: 14, Records: 7}, 4, ""},
		"one that was never drained":            {verify.Spool{ID: "new", Last: 2, Records: 2}, 2, ""},
		"one with numbers of failed writes":     {verify.Spool{ID: "s", Kept: 10, Last: 20, Records: 3}, 3, ""},
		"records missing behind what was drained": {
			verify.Spool{ID: "s", Kept: 12, Last: 14, Records: 2}, 2,
			"spool: spool s was drained up to record 10, but its next ones up to 12 are missing\n",
		},
		"records missing before anything was drained": {
			verify.Spool{ID: "new", Kept: 1, Last: 2, Records: 1}, 1,
			"spool: spool new was drained up to record 0, but its next ones up to 1 are missing\n",
		},
		"records lost": {verify.Spool{ID: "s", Lost: 3}, 0, "spool: spool s has lost 3 records by damage\n"},
		"damaged segments": {
			verify.Spool{ID: "s", Damaged: 2}, 0,
			"spool: spool s has 2 damaged segments: what could not be read of them is not in the log\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := run(t, db, test.spool)
			if texts(report) != test.want {
				t.Errorf("%q, want %q", texts(report), test.want)
			}
			if c := report.Counts; *c.Waiting != test.waiting || c.Received != test.waiting || c.Answered200 != test.waiting {
				t.Errorf("%d wait of %d received, %d answered 200; want %d", *c.Waiting, c.Received, c.Answered200, test.waiting)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	waiting := int64(4)
	report := &verify.Report{
		Differences:     []verify.Difference{{Kind: "position", Text: "position 17 is missing"}},
		DifferenceCount: 12, Events: 1000, Sessions: 90, Texts: 300, Seconds: 0.5,
		Counts: verify.Counts{
			Received: 1045, Delivered: 998, Recognised: 40, Quarantined: 5, Replayed: 2, Waiting: &waiting, Answered200: 1040,
			InLog: 1000, Healed: 2, NoSession: 10, NotFolded: 3, PutAside: 1, Superseded: 1, InSessions: 985,
		},
	}
	var text strings.Builder
	if err := report.Print(&text); err != nil {
		t.Fatal(err)
	}
	const want = `position 17 is missing
and 11 more

received                           1045
  new events                        998  in the log
  recognised again                   40  events that were in the log already
  quarantined                         3  and 2 more that were replayed
  waiting in the spool                4  of this machine
answered 200                       1040  all but what was quarantined
in the log                         1000  2 of them healed
  of no session                      10  test, ping, or without a session_id
  not folded yet                      3
  put aside                           1  dead letters
  superseded                          1  healed messages that were delivered after all
in sessions                         985

verified 1000 events, 90 sessions and 300 texts in 0.5 s (2000 events/s): 12 differences
`
	if text.String() != want {
		t.Errorf("%s\nwant\n%s", text.String(), want)
	}
	if err := report.Err(); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want one line", err)
	}
}
