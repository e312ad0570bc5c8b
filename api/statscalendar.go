package api

import (
	"cmp"
	"math"
	"slices"
	"time"
	_ "time/tzdata" // a machine without a time zone database answers the same
)

// interval is the length of the buckets of a time series: of the clock up to an
// hour, of the calendar from a day on.
type interval struct {
	name  string
	about time.Duration // its length; of those of the calendar, at most times

	// Of the calendar: the date that the interval of a date begins with, and how
	// to get to the next one. Nil for those of the clock.
	begin func(date time.Time) time.Time
	next  func(begin time.Time) time.Time
}

var intervals = []interval{
	{name: "minute", about: time.Minute},
	{name: "five_minutes", about: 5 * time.Minute},
	{name: "quarter_hour", about: 15 * time.Minute},
	{name: "hour", about: time.Hour},
	{
		name: "day", about: 24 * time.Hour,
		begin: func(date time.Time) time.Time { return date },
		next:  func(begin time.Time) time.Time { return begin.AddDate(0, 0, 1) },
	},
	{
		name: "week", about: 7 * 24 * time.Hour,
		begin: func(date time.Time) time.Time { return date.AddDate(0, 0, -weekdayIndex(date)) },
		next:  func(begin time.Time) time.Time { return begin.AddDate(0, 0, 7) },
	},
	{
		name: "month", about: 730 * time.Hour,
		begin: func(date time.Time) time.Time { return date.AddDate(0, 0, 1-date.Day()) },
		next:  func(begin time.Time) time.Time { return begin.AddDate(0, 1, 0) },
	},
}

const (
	autoBuckets = 50     // the interval auto comes closest to, by ratio
	maxBuckets  = 10_000 // of one time series
)

// weekdayIndex is 0 on a Monday, with which weeks begin in ISO 8601.
func weekdayIndex(t time.Time) int { return (int(t.Weekday()) + 6) % 7 }

// intervalNamed is the interval of a name.
func intervalNamed(name string) interval {
	return intervals[slices.IndexFunc(intervals, func(v interval) bool { return v.name == name })]
}

// intervalFor is the one that cuts a range into about autoBuckets.
func intervalFor(length time.Duration) interval {
	misfit := func(v interval) float64 {
		return math.Abs(math.Log(float64(length) / float64(v.about) / autoBuckets))
	}
	return slices.MinFunc(intervals, func(a, b interval) int { return cmp.Compare(misfit(a), misfit(b)) })
}

// starts are the first instants, in order, of the intervals that [from, to) meets on
// the clock and the calendar of a place; false if there are more than maxBuckets.
func (v interval) starts(from, to time.Time, place *time.Location) ([]time.Time, bool) {
	next := v.clock(from.In(place))
	if v.begin != nil {
		next = v.calendar(from.In(place))
	}
	var starts []time.Time
	for start := next(); start.Before(to); start = next() {
		if len(starts) == maxBuckets {
			return nil, false
		}
		starts = append(starts, start)
	}
	return starts, true
}

// clock makes a function that tells, with each call, where the next interval begins;
// at first the one that an instant is in. They begin at whole ones of the local
// clock. Where it is set by something else than whole ones, one ends early.
func (v interval) clock(t time.Time) func() time.Time {
	start := clockStart(t, v.about)
	return func() time.Time {
		this := start
		start = clockEnd(start, v.about)
		return this
	}
}

func clockStart(t time.Time, step time.Duration) time.Time {
	start := wholeBefore(t, step)
	if set, _ := t.ZoneBounds(); start.Before(set) && !sameGrid(set.Add(-1), set, step) {
		return set
	}
	return start
}

func clockEnd(start time.Time, step time.Duration) time.Time {
	end := wholeBefore(start, step).Add(step)
	if _, set := start.ZoneBounds(); !set.IsZero() && set.Before(end) && !sameGrid(start, set, step) {
		return set
	}
	return end
}

// wholeBefore is the last instant, up to t, at which the local clock of t shows whole
// steps since midnight.
func wholeBefore(t time.Time, step time.Duration) time.Time {
	_, offset := t.Zone()
	shift := time.Duration(offset) * time.Second
	return t.Add(shift).Truncate(step).Add(-shift) // it counts from the midnight of the year 1
}

// sameGrid reports whether whole steps of the local clocks of two instants are the same.
func sameGrid(a, b time.Time, step time.Duration) bool {
	_, before := a.Zone()
	_, after := b.In(a.Location()).Zone()
	return time.Duration(after-before)*time.Second%step == 0
}

// calendar is clock for the intervals of the calendar. A date that a place passed
// over has no interval; one that begins twice there begins with the first time.
func (v interval) calendar(t time.Time) func() time.Time {
	place := t.Location()
	date := v.begin(dateOf(t))
	for next := v.next(date); !firstInstant(next, place).After(t); next = v.next(date) {
		date = next
	}
	return func() time.Time {
		start := firstInstant(date, place)
		for date = v.next(date); !firstInstant(date, place).After(start); {
			date = v.next(date)
		}
		return start
	}
}

// dateOf is the local date of an instant, as midnight UTC.
func dateOf(t time.Time) time.Time {
	year, month, day := t.Date()
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

// firstInstant is when a place's calendar first shows a date or a later one: midnight
// mostly, but some clocks are set forward over it, and some calendars have left
// out a day.
func firstInstant(date time.Time, place *time.Location) time.Time {
	t := date.Add(-26 * time.Hour).In(place) // earlier by date everywhere
	for {
		_, offset := t.Zone()
		begin, end := zoneBounds(t)
		first := date.Add(-time.Duration(offset) * time.Second).In(place)
		if first.Before(begin) {
			first = begin
		}
		if end.IsZero() || first.Before(end) {
			return first
		}
		t = end
	}
}

// zoneBounds are from when until when a place's offset holds that does at an instant. Where
// the time zone database has a rule for it, the standard library takes each year to end
// after 365 days: on the last day of a leap year what it calls the end is past.
func zoneBounds(t time.Time) (begin, end time.Time) {
	begin, end = t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		_, end = t.Add(24 * time.Hour).ZoneBounds()
	}
	return begin, end
}
