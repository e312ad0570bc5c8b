package store_test

import (
	"strings"
	"testing"
	"time"

	"rapport/store"
)

func TestTimesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		retention store.Retention
		fault     string
	}{
		"for ever":                     {store.Retention{}, ""},
		"messages alone":               {store.Retention{Messages: day}, ""},
		"all alike":                    {store.Retention{Messages: 9 * day, Events: 9 * day, Sessions: 9 * day}, ""},
		"each for longer":              {store.Retention{Messages: 9 * day, Events: 10 * day, Sessions: 11 * day}, ""},
		"less than a day":              {store.Retention{Messages: day - 1}, "1d at least"},
		"less than nothing":            {store.Retention{Events: -day}, "1d at least"},
		"messages without their event": {store.Retention{Messages: 9 * day, Events: 8 * day}, "no longer than --retain-events"},
		"sessions alone":               {store.Retention{Sessions: 9 * day}, "needs --retain-events"},
		"events without their session": {store.Retention{Events: 9 * day, Sessions: 8 * day}, "no shorter than --retain-events"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tt.retention.Check()
			if tt.fault == "" && err != nil || tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)) {
				t.Errorf("got %v, want an error with %q", err, tt.fault)
			}
		})
	}
}

func TestTheQuarantineKeepsNothingForLongerThanTheLog(t *testing.T) {
	t.Parallel()
	if got := (store.Retention{Messages: 48 * time.Hour}).QuarantineAge(time.Hour); got != time.Hour {
		t.Errorf("got %v", got)
	}
	if got := (store.Retention{Messages: 48 * time.Hour}).QuarantineAge(100 * time.Hour); got != 48*time.Hour {
		t.Errorf("got %v", got)
	}
	if got := (store.Retention{Events: 48 * time.Hour}).QuarantineAge(100 * time.Hour); got != 100*time.Hour {
		t.Errorf("got %v", got)
	}
}
