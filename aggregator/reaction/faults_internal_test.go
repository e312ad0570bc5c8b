package reaction

import (
	"errors"
	"testing"
)

func TestWhatRulesPanicOnIsPassedOverInTheEnd(t *testing.T) {
	t.Parallel()
	ask := func() (err error) {
		defer blamePanic("event 7", &err)
		panic("boom")
	}
	f := newFaults()
	for try := range maxTries {
		if f.passed["event 7"] != nil {
			t.Fatalf("passed over after %d tries", try)
		}
		if f.note(stepError{ask(), []fault{"event 6", "event 7"}}) {
			t.Fatal("it is known what is to blame")
		}
	}
	if f.passed["event 7"] == nil || f.passed["event 6"] != nil {
		t.Errorf("passed over: %v", f.passed)
	}
	if f.note(errors.New("the database is away")) {
		t.Error("smaller steps for a database that is away")
	}
}
