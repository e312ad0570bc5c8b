package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// answerTimeout is the sender's own.
	answerTimeout = 10 * time.Second
	// maxInARow failures, and the rest would fail too.
	maxInARow = 20
	// maxAnswerBytes is how much of an answer is read.
	maxAnswerBytes = 64 << 10
)

// sender posts deliveries, several at a time.
type sender struct {
	server      string // base URL, without a slash at its end
	proof       proof
	client      *http.Client
	concurrency int
	limiter     *rate.Limiter
	show        func(tally) // called after each delivery, by one goroutine at a time

	mu     sync.Mutex // guards what follows, and the calls of show
	tally  tally
	inARow int // failures since the last success
}

// tally counts what became of the deliveries. What was under way when the
// sending ended is not counted.
type tally struct {
	planned, kept, duplicates, failed int

	first  error // of the first that failed
	gaveUp bool  // too many failed in a row
}

func (t *tally) sent() int { return t.kept + t.duplicates + t.failed }

func newSender(o *Options, show func(tally)) *sender {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = o.Concurrency
	return &sender{
		server: o.server(),
		proof:  proof{o.WebhookSecret, o.WebhookToken},
		client: &http.Client{
			Transport: transport,
			Timeout:   answerTimeout,
			// A webhook's sender follows no redirect: it would lose the body.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		concurrency: o.Concurrency,
		limiter:     newLimiter(o.Rate),
		show:        show,
	}
}

// newLimiter allows so many deliveries a second; 0 is any number. The burst
// makes up for timers that are late.
func newLimiter(perSecond float64) *rate.Limiter {
	if perSecond == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/20)))
}

// send posts all deliveries, in their order but for those under way at once. It
// ends early when the context does, or when too many fail in a row.
func (s *sender) send(ctx context.Context, deliveries []delivery) tally {
	defer s.client.CloseIdleConnections()
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	s.tally.planned = len(deliveries)
	queue := make(chan *delivery)
	var workers sync.WaitGroup
	for range s.concurrency {
		workers.Go(func() {
			for d := range queue {
				s.deliver(ctx, d, giveUp)
			}
		})
	}
	feed(ctx, s.limiter, deliveries, queue)
	close(queue)
	workers.Wait()
	return s.tally
}

// feed hands the deliveries over at the limiter's rate.
func feed(ctx context.Context, limiter *rate.Limiter, deliveries []delivery, queue chan<- *delivery) {
	for i := range deliveries {
		if limiter.Wait(ctx) != nil {
			return
		}
		select {
		case queue <- &deliveries[i]:
		case <-ctx.Done():
			return
		}
	}
}

func (s *sender) deliver(ctx context.Context, d *delivery, giveUp func()) {
	duplicate, err := s.post(ctx, d)
	if err != nil && ctx.Err() != nil {
		return // it failed because the sending has ended
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.fail(err, giveUp)
	case duplicate:
		s.tally.duplicates++
		s.inARow = 0
	default:
		s.tally.kept++
		s.inARow = 0
	}
	s.show(s.tally)
}

func (s *sender) fail(err error, giveUp func()) {
	s.tally.failed++
	if s.tally.first == nil {
		s.tally.first = err
	}
	if s.inARow++; s.inARow == maxInARow {
		s.tally.gaveUp = true
		giveUp()
	}
}

// post sends one delivery, and reports whether the server had it already.
func (s *sender) post(ctx context.Context, d *delivery) (duplicate bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server+"/webhook", bytes.NewReader(d.body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "rapport-demo")
	s.proof.set(request.Header, d, time.Now())
	response, err := s.client.Do(request)
	if err != nil {
		return false, unreachable(s.server, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return false, unreachable(s.server, err)
	}
	var answer answer
	if json.Unmarshal(body, &answer) != nil || response.StatusCode != http.StatusOK || answer.Status != "success" {
		return false, refused(s.server, response, answer, s.proof)
	}
	return answer.Duplicate, nil
}
