package rapport_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"rapport"
)

func TestTotalsOfASession(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 9, 28, 12, 0, 0, 0, time.UTC)
	rating := 4.5
	s := &rapport.Session{
		StartedAt: start, LastActivityAt: start.Add(90*time.Second + 999*time.Microsecond), EventCount: 8, JoinCount: 1, ErrorCount: 1,
		MessageCount: 6, UserMessageCount: 3, AgentMessageCount: 2, UserCharCount: 30, AgentCharCount: 40, ActiveUs: 60_000_999,
		TurnCount: 2, AnsweredTurnCount: 2, QuickAnswerCount: 1, ResponseMsTotal: 7001, RepeatCount: 1, FrictionCount: 1,
		SentimentSum: -500, Rating: &rating,
	}
	got := rapport.TotalsOf(s)
	quality, _ := s.QualityScore()
	for _, c := range []struct {
		name      string
		got, want int64
	}{
		{"sessions", got.Sessions, 1}, {"continued", got.Continued, 1}, {"bounced", got.Bounced, 0}, {"joined", got.Joined, 1},
		{"talked", got.Talked(), 1}, {"returned", got.Returned(), 1}, {"events", got.Events, 8}, {"duration_ms", got.DurationMS, 90_000},
		{"active_ms", got.ActiveMS, 60_000}, {"response_ms", got.ResponseMS, 7001}, {"engagement_tenths", got.EngagementTenths, s.EngagementScore()},
		{"quality_tenths", got.QualityTenths, quality}, {"judged", got.Judged, 1}, {"sentiment_thousandths", got.SentimentThousandths, -167},
		{"felt", got.Felt, 1}, {"rating_thousandths", got.RatingThousandths, 4500}, {"rated", got.Rated, 1},
		{"durations", got.Duration.Count(), 1}, {"responses", got.Response.Count(), 1},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", c.name, c.got, c.want)
		}
	}
	silent := rapport.TotalsOf(&rapport.Session{StartedAt: start, LastActivityAt: start, EventCount: 1})
	if silent.Bounced != 1 || silent.Judged != 0 || silent.Felt != 0 || silent.Rated != 0 || !silent.Response.IsZero() || silent.Duration.Count() != 1 {
		t.Errorf("a session in which nothing was said has %+v", silent)
	}
}

func TestNoRatingBreaksASum(t *testing.T) {
	t.Parallel()
	for rating, want := range map[float64]int64{
		1e300: 1e9, -1e300: -1e9, math.Inf(1): 1e9, 0.0005: 1, -0.0004: 0, 3: 3000,
	} {
		if got := rapport.TotalsOf(&rapport.Session{Rating: &rating}); got.RatingThousandths != want || got.Rated != 1 {
			t.Errorf("%v is %d, want %d", rating, got.RatingThousandths, want)
		}
	}
	nan := math.NaN()
	if got := rapport.TotalsOf(&rapport.Session{Rating: &nan}); got.Rated != 0 {
		t.Error("what is no number was rated")
	}
}

func TestTotalsAddUpAndCanBeTakenAway(t *testing.T) {
	t.Parallel()
	any := rapid.Custom(func(t *rapid.T) rapport.Totals {
		var totals rapport.Totals
		for _, sum := range totals.Sums() {
			*sum.Value = rapid.Int64Range(0, 1<<40).Draw(t, sum.Column)
		}
		totals.Duration.Add(rapid.Int64Range(0, 1<<30).Draw(t, "duration"))
		return totals
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := any.Draw(t, "a"), any.Draw(t, "b")
		sum := a
		sum.Add(b)
		for i, s := range sum.Sums() {
			if *s.Value != *a.Sums()[i].Value+*b.Sums()[i].Value {
				t.Fatalf("%s was not added", s.Column)
			}
		}
		sum.Sub(b)
		if !sum.Equal(a) {
			t.Fatal("taking away leaves something else")
		}
		sum.Sub(a)
		if !sum.IsZero() {
			t.Fatal("nothing is left, but it is not zero")
		}
	})
}
