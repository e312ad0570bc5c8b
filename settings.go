package rapport

import "time"

// Settings are the rules that can change a session's numbers. They are kept in
// the database, one set for all processes: rollups folded with different
// settings could not be compared, nor proved from the log.
type Settings struct {
	IdleTimeout          time.Duration // a gap longer than this cuts a session; a session closes after it
	ActiveGapCap         time.Duration // the most that one gap between events adds to active_s
	QuickAnswer          time.Duration // a response within this is a quick answer
	FrustrationWords     []string      // a user message with one of them, as a whole word, is friction
	FrustrationSentiment int           // thousandths, −1000…1000; a user message at or below it is friction
	ScoreVersion         int           // version of the formulas in score.go and of their weights
}

// DefaultSettings are those of a new database.
func DefaultSettings() Settings {
	return Settings{
		IdleTimeout:          30 * time.Minute,
		ActiveGapCap:         60 * time.Second,
		QuickAnswer:          3 * time.Second,
		FrustrationWords:     []string{"frustrated", "angry", "terrible", "awful"},
		FrustrationSentiment: -500,
		ScoreVersion:         ScoreVersion,
	}
}
