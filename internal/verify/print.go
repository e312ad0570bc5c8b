package verify

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the report for people: a line for each difference, what was
// looked at, and the counts from end to end.
func (r *Report) Print(w io.Writer) error {
	var text strings.Builder
	for _, d := range r.Differences {
		text.WriteString(d.Text + "\n")
	}
	if more := r.DifferenceCount - int64(len(r.Differences)); more > 0 {
		fmt.Fprintf(&text, "and %d more\n", more)
	}
	if r.DifferenceCount > 0 {
		text.WriteString("\n")
	}
	r.Counts.print(&text)
	fmt.Fprintf(&text, "\nverified %d events, %d sessions and %d texts in %.1f s (%.0f events/s): %s\n",
		r.Events, r.Sessions, r.Texts, r.Seconds, float64(r.Events)/r.Seconds, r.verdict())
	_, err := io.WriteString(w, text.String())
	return err
}

func (r *Report) verdict() string {
	switch r.DifferenceCount {
	case 0:
		return "no difference"
	case 1:
		return "1 difference"
	default:
		return fmt.Sprintf("%d differences", r.DifferenceCount)
	}
}

// Err is nil if there is no difference.
func (r *Report) Err() error {
	if r.DifferenceCount == 0 {
		return nil
	}
	return fmt.Errorf("what is kept is not what the log says: %s", r.verdict())
}

func (c *Counts) print(w io.Writer) {
	line := func(label string, n int64, note string) {
		_, _ = fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-26s %12d  %s", label, n, note), " "))
	}
	line("received", c.Received, "")
	line("  new events", c.Delivered, "in the log")
	line("  recognised again", c.Recognised, "events that were in the log already")
	if c.Erased > 0 {
		line("  erased", c.Erased, "let go, since they belong to what was erased")
	}
	if c.Expired > 0 {
		line("  expired", c.Expired, "let go, since they were too old")
	}
	line("  quarantined", c.Quarantined-c.Replayed, c.replays())
	if c.Waiting != nil {
		line("  waiting in the spool", *c.Waiting, "of this machine")
	}
	line("answered 200", c.Answered200, "all but what was quarantined")
	line("in the log", c.InLog, c.healed())
	if c.Stubs > 0 {
		line("  stubs", c.Stubs, "what remains of erased events")
	}
	if c.Dropped > 0 {
		line("  dropped", c.Dropped, "gone from it, since they were too old")
	}
	line("  of no session", c.NoSession, "test, ping, or without a session_id")
	line("  not folded yet", c.NotFolded, "")
	line("  put aside", c.PutAside, "dead letters")
	line("  superseded", c.Superseded, "healed messages that were delivered after all")
	line("in sessions", c.InSessions, c.frozen())
	if c.Searchable > 0 {
		line("searchable", c.Searchable, "messages, up to where the search has come")
	}
}

func (c *Counts) frozen() string {
	if c.Frozen == 0 {
		return ""
	}
	return fmt.Sprintf("%d of them below the horizon, taken as they are", c.Frozen)
}

func (c *Counts) replays() string {
	if c.Replayed == 0 {
		return ""
	}
	return fmt.Sprintf("and %d more that were replayed", c.Replayed)
}

func (c *Counts) healed() string {
	if c.Healed == 0 {
		return ""
	}
	return fmt.Sprintf("%d of them healed", c.Healed)
}
