package api

import (
	"slices"
	"testing"
	"time"
)

// TestBucketsAreRightOnEveryCalendar compares with instants that were worked out by
// hand from the rules of each zone.
func TestBucketsAreRightOnEveryCalendar(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, place, interval, from, to string
		want                            []string
	}{
		{"a day of 23 hours", "Europe/Berlin", "day", "2025-03-29T12:00:00Z", "2025-03-31T12:00:00Z",
			[]string{"2025-03-29T00:00:00+01:00", "2025-03-30T00:00:00+01:00", "2025-03-31T00:00:00+02:00"}},
		{"a day of 25 hours", "Europe/Berlin", "day", "2025-10-25T22:00:00Z", "2025-10-26T23:00:01Z",
			[]string{"2025-10-26T00:00:00+02:00", "2025-10-27T00:00:00+01:00"}},
		{"an hour that is left out", "Europe/Berlin", "hour", "2025-03-30T00:30:00Z", "2025-03-30T02:00:00Z",
			[]string{"2025-03-30T01:00:00+01:00", "2025-03-30T03:00:00+02:00"}},
		{"an hour that comes twice", "Europe/Berlin", "hour", "2025-10-25T23:59:00Z", "2025-10-26T02:00:00Z",
			[]string{"2025-10-26T01:00:00+02:00", "2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00"}},
		{"weeks from Monday", "Europe/Berlin", "week", "2025-03-26T12:00:00Z", "2025-04-01T00:00:00Z",
			[]string{"2025-03-24T00:00:00+01:00", "2025-03-31T00:00:00+02:00"}},
		{"months over a change of clock", "Europe/Berlin", "month", "2025-02-28T23:00:00Z", "2025-05-31T22:00:00Z",
			[]string{"2025-03-01T00:00:00+01:00", "2025-04-01T00:00:00+02:00", "2025-05-01T00:00:00+02:00"}},
		{"spring in New York", "America/New_York", "day", "2025-03-09T04:59:59Z", "2025-03-10T04:00:01Z",
			[]string{"2025-03-08T00:00:00-05:00", "2025-03-09T00:00:00-05:00", "2025-03-10T00:00:00-04:00"}},
		{"autumn in New York", "America/New_York", "day", "2025-11-02T04:00:00Z", "2025-11-03T05:00:01Z",
			[]string{"2025-11-02T00:00:00-04:00", "2025-11-03T00:00:00-05:00"}},
		{"half-hour zones", "Asia/Kolkata", "hour", "2025-01-01T00:00:00Z", "2025-01-01T01:31:00Z",
			[]string{"2025-01-01T05:00:00+05:30", "2025-01-01T06:00:00+05:30", "2025-01-01T07:00:00+05:30"}},
		{"quarters of a zone of three quarters", "Asia/Kathmandu", "quarter_hour", "2025-01-01T00:00:00Z", "2025-01-01T00:16:00Z",
			[]string{"2025-01-01T05:45:00+05:45", "2025-01-01T06:00:00+05:45"}},
		{"days of a half-hour zone", "Asia/Kolkata", "day", "2024-12-31T18:29:00Z", "2024-12-31T18:31:00Z",
			[]string{"2024-12-31T00:00:00+05:30", "2025-01-01T00:00:00+05:30"}},
		{"a day that never was", "Pacific/Apia", "day", "2011-12-29T10:00:00Z", "2011-12-31T10:00:01Z",
			[]string{"2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"}},
		{"the hours around it", "Pacific/Apia", "hour", "2011-12-30T09:00:00Z", "2011-12-30T11:00:00Z",
			[]string{"2011-12-29T23:00:00-10:00", "2011-12-31T00:00:00+14:00"}},
		{"the week of it", "Pacific/Apia", "week", "2011-12-30T10:00:00Z", "2012-01-01T10:00:01Z",
			[]string{"2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00"}},
		{"midnight left out", "America/Sao_Paulo", "day", "2018-11-03T03:00:00Z", "2018-11-05T02:00:01Z",
			[]string{"2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"}},
		{"set back at midnight", "America/Sao_Paulo", "day", "2018-02-17T02:00:00Z", "2018-02-18T03:00:01Z",
			[]string{"2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00"}},
		{"a month whose midnight is left out", "America/Asuncion", "month", "2017-09-15T00:00:00Z", "2017-10-02T00:00:00Z",
			[]string{"2017-09-01T00:00:00-04:00", "2017-10-01T01:00:00-03:00"}},
		{"midnight twice", "America/Havana", "day", "2025-11-02T04:30:00Z", "2025-11-03T05:00:01Z",
			[]string{"2025-11-02T00:00:00-04:00", "2025-11-03T00:00:00-05:00"}},
		{"a minute of tomorrow before the clock is set back", "America/St_Johns", "day", "2010-11-07T02:35:00Z", "2010-11-08T03:30:01Z",
			[]string{"2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30"}},
		{"set back by half an hour", "Australia/Lord_Howe", "hour", "2025-04-05T14:00:00Z", "2025-04-05T16:00:00Z",
			[]string{"2025-04-06T01:00:00+11:00", "2025-04-06T01:30:00+10:30", "2025-04-06T02:00:00+10:30"}},
		{"set forward by half an hour", "Australia/Lord_Howe", "hour", "2025-10-04T15:45:00Z", "2025-10-04T16:30:00Z",
			[]string{"2025-10-05T02:30:00+11:00", "2025-10-05T03:00:00+11:00"}},
		{"five minutes", "UTC", "five_minutes", "2025-01-01T00:04:59.999999Z", "2025-01-01T00:10:00Z",
			[]string{"2025-01-01T00:00:00Z", "2025-01-01T00:05:00Z"}},
		{"minutes", "UTC", "minute", "2025-01-01T00:59:00Z", "2025-01-01T01:00:00.000001Z",
			[]string{"2025-01-01T00:59:00Z", "2025-01-01T01:00:00Z"}},
		{"before 1970 by the local clock", "America/New_York", "month", "1970-01-01T00:00:00Z", "1970-01-01T06:00:00Z",
			[]string{"1969-12-01T00:00:00-05:00", "1970-01-01T00:00:00-05:00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			starts, ok := intervalNamed(c.interval).starts(instant(t, c.from), instant(t, c.to), placeNamed(t, c.place))
			var got []string
			for _, start := range starts {
				got = append(got, start.Format(time.RFC3339))
			}
			if !ok || !slices.Equal(got, c.want) {
				t.Errorf("%q\nwant %q", got, c.want)
			}
		})
	}
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func placeNamed(t *testing.T, name string) *time.Location {
	t.Helper()
	place, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

func TestBucketsFollowEachOtherWithoutAGap(t *testing.T) {
	t.Parallel()
	from, to := instant(t, "2009-12-20T07:08:09Z"), instant(t, "2012-02-03T04:05:06Z")
	for _, name := range []string{"UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Gaza"} {
		place := placeNamed(t, name)
		for _, v := range intervals[4:] {
			starts, ok := v.starts(from, to, place)
			if !ok || starts[0].After(from) || !slices.IsSortedFunc(starts, time.Time.Compare) {
				t.Fatalf("%s of %s begin at %v", v.name, name, starts[0])
			}
			for i, start := range starts[1:] {
				again, _ := v.starts(start, start.Add(1), place)
				before, _ := v.starts(start.Add(-1), start, place)
				if len(again) != 1 || !again[0].Equal(start) || len(before) != 1 || !before[0].Equal(starts[i]) {
					t.Fatalf("%s of %s: %v begins with %v, behind %v", v.name, name, start, again, before)
				}
			}
		}
	}
}

func TestATimeSeriesHasAtMostSoManyBuckets(t *testing.T) {
	t.Parallel()
	from := instant(t, "2025-01-01T00:00:00Z")
	hour := intervalNamed("hour")
	if starts, ok := hour.starts(from, from.Add(maxBuckets*time.Hour), time.UTC); !ok || len(starts) != maxBuckets {
		t.Error(len(starts), ok)
	}
	if _, ok := hour.starts(from, from.Add(maxBuckets*time.Hour+1), time.UTC); ok {
		t.Error("one more is taken")
	}
}

func TestAutoMakesAboutFiftyBuckets(t *testing.T) {
	t.Parallel()
	for length, want := range map[time.Duration]string{
		time.Microsecond: "minute", time.Hour: "minute", 4 * time.Hour: "five_minutes", 24 * time.Hour: "quarter_hour",
		7 * 24 * time.Hour: "hour", 30 * 24 * time.Hour: "day", 365 * 24 * time.Hour: "week", 10 * 365 * 24 * time.Hour: "month",
	} {
		if got := intervalFor(length).name; got != want {
			t.Errorf("%v: %s, want %s", length, got, want)
		}
	}
}

// Behind the years that the time zone database lists, as behind those that a small one
// does, there is a rule, by which the standard library takes a leap year for too short.
func TestTheLastDayOfALeapYearBeginsWhereARuleTellsTheTime(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"America/New_York": {"2040-12-31T00:00:00-05:00", "2041-01-01T00:00:00-05:00", "2041-01-02T00:00:00-05:00"},
		"Europe/Berlin":    {"2040-12-31T00:00:00+01:00", "2041-01-01T00:00:00+01:00", "2041-01-02T00:00:00+01:00"},
		"Pacific/Auckland": {"2040-12-31T00:00:00+13:00", "2041-01-01T00:00:00+13:00", "2041-01-02T00:00:00+13:00"},
	} {
		place := placeNamed(t, name)
		starts, ok := intervalNamed("day").starts(instant(t, want[0]), instant(t, want[2]).Add(time.Hour), place)
		var got []string
		for _, start := range starts {
			got = append(got, start.Format(time.RFC3339))
		}
		if !ok || !slices.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", name, got, want)
		}
	}
}
