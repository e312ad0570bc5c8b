package chaos

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Summarise writes a table of the results, what was measured, and every broken promise.
func Summarise(w io.Writer, seed uint64, results []*Result) {
	_, _ = fmt.Fprintf(w, "\nseed %d\n", seed)
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "SCENARIO\tROUNDS\tSENT\tANSWERED 200\tSPOOLED\t422\t503\tNO ANSWER\tIN THE LOG\tTOOK\t")
	for _, r := range results {
		a := r.Answers
		_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", r.Scenario, r.Rounds, a.Sent, a.Kept,
			a.Spooled, a.Quarantined, a.Refused, a.Unanswered+a.Unconnected, r.Logged, r.Took.Round(time.Second), r.verdict())
	}
	_ = table.Flush()
	for _, r := range results {
		for _, f := range r.Figures {
			_, _ = fmt.Fprintf(w, "%s: %s: %s\n", r.Scenario, f.Name, f.Value)
		}
	}
	for _, r := range results {
		if r.NotRun != "" {
			_, _ = fmt.Fprintf(w, "%s: NOT RUN: %s\n", r.Scenario, r.NotRun)
		}
		for _, v := range r.Violations {
			_, _ = fmt.Fprintf(w, "%s: VIOLATION: %s\n", r.Scenario, v)
		}
	}
}

func (r *Result) verdict() string {
	switch {
	case r.NotRun != "":
		return "not run"
	case r.Failed():
		return "FAILED"
	}
	return "nothing lost, nothing doubled"
}
