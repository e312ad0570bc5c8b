package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"rapport"
	"rapport/internal/reference"
)

// CheckOptions say how a server is spoken to.
type CheckOptions struct {
	Seed        uint64           // of the order in which the deliveries are sent
	Connections int              // how many are sent at once, at least 1
	Secret      string           // signs the deliveries, as the legacy generation does; none if empty
	Token       string           // sent as Authorization: Bearer with the deliveries; none if empty
	APIToken    string           // sent as Authorization: Bearer with the reads; none if empty
	Settings    rapport.Settings // of the server
}

// Report is what a check has found.
type Report struct {
	Deliveries  int // distinct
	Posts       int
	Duplicates  int // posts that were answered as duplicates
	Sessions    int // that should be there
	Open        int // of them
	Differences []Difference
}

// Difference is one value that is not what it should be.
type Difference struct {
	Where string // a session or a delivery
	Field string
	Got   string
	Want  string
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s is %s, want %s", d.Where, d.Field, d.Got, d.Want)
}

// Check posts the deliveries to baseURL+/webhook in any order, a tenth of them
// twice, then reads all of GET /sessions and compares every field of every
// row with the reference. The server must have nothing else in its log.
//
// Whatever the server does wrong is in the report; an error means that the
// check could not be completed.
func Check(ctx context.Context, client *http.Client, baseURL string, deliveries []Delivery, opts CheckOptions) (Report, error) {
	if opts.Connections < 1 {
		return Report{}, errors.New("a check needs at least one connection")
	}
	c := checker{client: client, baseURL: strings.TrimRight(baseURL, "/"), opts: opts}
	answers, err := c.send(ctx, deliveries)
	if err != nil {
		return Report{}, err
	}
	events, report := judgeAnswers(deliveries, answers)

	// A session may close while it is read: both states are right.
	before := time.Now()
	rows, err := c.readSessions(ctx, greatestPosition(events))
	if err != nil {
		return report, err
	}
	want := reference.Sessions(events, opts.Settings, before)
	later := reference.Sessions(events, opts.Settings, time.Now())
	report.Sessions = len(want)
	for _, row := range want {
		if row.Status == "open" {
			report.Open++
		}
	}
	report.Differences = append(report.Differences, compare(rows, want, later)...)
	return report, nil
}

type checker struct {
	client  *http.Client
	baseURL string
	opts    CheckOptions
}

func greatestPosition(events []rapport.Event) int64 {
	var greatest int64
	for _, e := range events {
		greatest = max(greatest, e.Position)
	}
	return greatest
}
