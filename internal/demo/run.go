package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"time"
)

// MaxSessions is the most that one day is made of; it is held in memory.
const MaxSessions = 50_000

// Options say what is sent, where to, and how fast.
type Options struct {
	URL           string  // of the server, to which /webhook is added
	Sessions      int     // 1…[MaxSessions]
	Rate          float64 // deliveries per second; 0 is as fast as possible
	Concurrency   int     // deliveries under way at once, from 1
	Seed          *uint64 // equal seeds give equal conversations; nil is a random one
	WebhookSecret string  // signs deliveries; empty if the server has none
	WebhookToken  string  // goes with deliveries; empty if the server has none
}

// Run makes up the conversations of the last 24 hours and sends them. The
// summary goes to stdout, the progress to stderr.
//
// It ends early with ctx, or after 20 failures in a row. It is an error if a
// delivery failed or was not sent: the first such one says why.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	seed := rand.Uint64N(1_000_000) // short enough to be typed again
	if o.Seed != nil {
		seed = *o.Seed
	}
	start := time.Now()
	deliveries := plan{sessions: o.Sessions, seed: seed, now: start}.deliveries()
	_, _ = fmt.Fprintf(stderr, "seed %d: %d sessions, %d deliveries to %s\n", seed, o.Sessions, len(deliveries), o.server())

	progress := newProgress(stderr, len(deliveries))
	tally := newSender(&o, progress.show).send(ctx, deliveries)
	progress.clear()
	if err := o.summarize(stdout, &tally, time.Since(start)); err != nil {
		return err
	}
	return tally.err()
}

func (o *Options) check() error {
	link, err := url.Parse(o.URL)
	switch {
	case err != nil || link.Host == "" || link.Scheme != "http" && link.Scheme != "https":
		return fmt.Errorf("--url %s can't be read: give it like http://127.0.0.1:8080", o.URL)
	case o.Sessions < 1 || o.Sessions > MaxSessions:
		return fmt.Errorf("--sessions must be 1 to %d", MaxSessions)
	case !(o.Rate >= 0): // NaN is no rate either
		return errors.New("--rate must be at least 0 (0 is as fast as possible)")
	case o.Concurrency < 1:
		return errors.New("--concurrency must be at least 1")
	default:
		return nil
	}
}

// server is the URL that paths are added to.
func (o *Options) server() string { return strings.TrimRight(o.URL, "/") }

func (o *Options) summarize(w io.Writer, t *tally, took time.Duration) error {
	text := fmt.Sprintf("sent %d of %d deliveries in %.1f s: %d kept, %d duplicates, %d failed\n",
		t.sent(), t.planned, took.Seconds(), t.kept, t.duplicates, t.failed)
	if t.kept+t.duplicates > 0 {
		text += "look at them: " + o.nextLook() + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// nextLook is a command that shows what was sent. A server reads out its
// sessions without a token to its own machine alone.
func (o *Options) nextLook() string {
	authorization := ""
	if !isLoopback(o.URL) {
		authorization = `-H "Authorization: Bearer $RAPPORT_API_TOKEN" `
	}
	return fmt.Sprintf("curl %s'%s/sessions?limit=5'", authorization, o.server())
}

func isLoopback(link string) bool {
	u, err := url.Parse(link)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// err is nil if everything was sent and nothing failed.
func (t *tally) err() error {
	switch {
	case t.gaveUp:
		return fmt.Errorf("gave up after %d failures in a row: %w", maxInARow, t.first)
	case t.failed > 0:
		return fmt.Errorf("%d of %d deliveries failed, the first because %w", t.failed, t.sent(), t.first)
	case t.sent() < t.planned:
		return fmt.Errorf("interrupted: %d of %d deliveries were not sent", t.planned-t.sent(), t.planned)
	default:
		return nil
	}
}
