package dashboard

import (
	"strings"
	"testing"
	"time"
)

// readable shows a text as people read it.
func readable(text string) string {
	return strings.NewReplacer(nbsp, " ", minus, "-").Replace(text)
}

func TestCountsAreCompact(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{
		0: "0", 1: "1", 999: "999", 1000: "1,000", 9876: "9,876", 9999.6: "10,000", 10_000: "10.0 k", 12_345: "12.3 k", 99_949: "99.9 k",
		99_960: "100 k", 123_456: "123 k", 999_499: "999 k", 1_000_000: "1.00 M", 4_560_000: "4.56 M", 12_300_000: "12.3 M", 2e9: "2.00 G", -12_345: "-12.3 k", -5: "-5",
	} {
		if got := readable(compact(n)); got != want {
			t.Errorf("%v: %q, want %q", n, got, want)
		}
	}
	if got := readable(whole(int64(-1_234_567))); got != "-1,234,567" {
		t.Error(got)
	}
}

func TestDurationsAreReadable(t *testing.T) {
	t.Parallel()
	for s, want := range map[float64]string{
		0: "0 s", 0.0004: "0 ms", 0.42: "420 ms", 0.9996: "1.0 s", 3.2: "3.2 s", 9.96: "10 s", 59.4: "59 s", 59.6: "1 m", 80: "1 m 20 s", 3599.9: "1 h",
		3600: "1 h", 7500: "2 h 5 m", 86_399.9: "1 d", 273_600: "3 d 4 h", -80: "-1 m 20 s",
	} {
		if got := readable(duration(s)); got != want {
			t.Errorf("%v: %q, want %q", s, got, want)
		}
	}
}

func TestOtherNumbersAreReadable(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		percent(0.4534): "45.3 %", percent(0): "0.0 %", percent(1): "100.0 %", plural(1, "session", "sessions"): "1 session",
		plural(0, "session", "sessions"): "0 sessions", plural(1200, "session", "sessions"): "1,200 sessions",
		sentiment(0.123): "+0.12", sentiment(-0.5): "-0.50", sentiment(0.001): "0.00", bytesOf(1): "1 byte", bytesOf(1536): "1.5 kB",
		bytesOf(2_400_000): "2.4 MB", known(nil, percent): none, known(new(0.5), percent): "50.0 %",
	} {
		if readable(got) != want {
			t.Errorf("%q, want %q", readable(got), want)
		}
	}
}

func TestAChangeTellsItsWayAndWhetherItIsGood(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		percent *float64
		better  int
		want    change
	}{
		{nil, 1, change{}},
		{new(0.0), 1, change{Text: "0.0 %", Way: "same"}},
		{new(12.34), 1, change{"+12.3 %", "up", "good"}},
		{new(12.34), -1, change{"+12.3 %", "up", "bad"}},
		{new(-3.0), 1, change{"-3.0 %", "down", "bad"}},
		{new(-3.0), -1, change{"-3.0 %", "down", "good"}},
		{new(-3.0), 0, change{"-3.0 %", "down", ""}},
		{new(1946.7), 1, change{"+1,947 %", "up", "good"}},
	} {
		got := changeOf(test.percent, test.better)
		got.Text = readable(got.Text)
		if got != test.want {
			t.Errorf("%+v, want %+v", got, test.want)
		}
	}
}

func TestTimesAreOfTheChosenZone(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 12, 31, 23, 30, 5, 0, time.UTC)
	s := readState(map[string][]string{"tz": {"Asia/Kathmandu"}}, at)
	if got := readable(s.DateClock(at)); got != "1 Jan 2027, 05:15:05" {
		t.Error(got)
	}
	if got := machineTime(at); got != "2026-12-31T23:30:05.000Z" {
		t.Error(got)
	}
}
