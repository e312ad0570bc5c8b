package conformance

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"

	"golang.org/x/sync/errgroup"

	"rapport"
)

// answer is what one post of a delivery was answered.
type answer struct {
	delivery  int    // index
	problem   string // empty if it was kept
	position  int64
	duplicate bool
}

// send posts all deliveries, a tenth of them twice, and returns the answers in
// no particular order.
func (c checker) send(ctx context.Context, deliveries []Delivery) ([]answer, error) {
	order := sendingOrder(len(deliveries), c.opts.Seed)
	answers := make([]answer, len(order))
	group, posting := errgroup.WithContext(ctx)
	group.SetLimit(c.opts.Connections)
	for i, delivery := range order {
		if posting.Err() != nil {
			break
		}
		group.Go(func() error {
			var err error
			answers[i], err = c.post(posting, deliveries[delivery])
			answers[i].delivery = delivery
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return answers, ctx.Err()
}

// sendingOrder has each of n indexes once, and a tenth of them twice.
func sendingOrder(n int, seed uint64) []int {
	random := rand.New(rand.NewPCG(seed, 0))
	order := random.Perm(n)
	order = append(order, order[:n/10]...)
	random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

func (c checker) post(ctx context.Context, d Delivery) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.baseURL+"/webhook", bytes.NewReader(d.Body))
	if err != nil {
		return answer{}, err
	}
	request.Header = d.Headers.Clone()
	if c.opts.Secret != "" {
		request.Header.Set("X-bitHuman-Signature", signature(c.opts.Secret, d.Body))
	}
	if c.opts.Token != "" {
		request.Header.Set("Authorization", "Bearer "+c.opts.Token)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return answer{}, err
	}
	return readAnswer(response.StatusCode, body), nil
}

func readAnswer(status int, body []byte) answer {
	var kept struct {
		Status    string `json:"status"`
		Position  int64  `json:"position"`
		Duplicate bool   `json:"duplicate"`
	}
	err := json.Unmarshal(body, &kept)
	if status != http.StatusOK || err != nil || kept.Status != "success" || kept.Position < 1 {
		return answer{problem: fmt.Sprintf("%d %s", status, bytes.TrimSpace(body))}
	}
	return answer{position: kept.Position, duplicate: kept.Duplicate}
}

// signature is that of the legacy generation: of the raw body alone.
func signature(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// judgeAnswers checks that every delivery was kept once, at a position of its
// own, and returns the events that were kept.
func judgeAnswers(deliveries []Delivery, answers []answer) ([]rapport.Event, Report) {
	report := Report{Deliveries: len(deliveries), Posts: len(answers)}
	byDelivery := make([][]answer, len(deliveries))
	for _, a := range answers {
		byDelivery[a.delivery] = append(byDelivery[a.delivery], a)
		if a.duplicate {
			report.Duplicates++
		}
	}
	var events []rapport.Event
	taken := map[int64]bool{}
	for i, own := range byDelivery {
		position, wrong := judgeDelivery(own)
		if position > 0 && taken[position] {
			wrong = append(wrong, Difference{Field: "position", Got: strconv.FormatInt(position, 10), Want: "one of its own"})
		}
		for _, d := range wrong {
			d.Where = fmt.Sprintf("delivery %d %.120s", i, deliveries[i].Body)
			report.Differences = append(report.Differences, d)
		}
		if position > 0 {
			taken[position] = true
			e := deliveries[i].Truth
			e.Position = position
			events = append(events, e)
		}
	}
	return events, report
}

// judgeDelivery returns the position of a delivery, 0 if it was not kept, and
// what is wrong with its answers.
func judgeDelivery(answers []answer) (int64, []Difference) {
	var position int64
	var wrong []Difference
	news := 0
	for _, a := range answers {
		switch {
		case a.problem != "":
			wrong = append(wrong, Difference{Field: "answer", Got: a.problem, Want: "200 with a position"})
			continue
		case position != 0 && a.position != position:
			wrong = append(wrong, Difference{
				Field: "position", Got: strconv.FormatInt(a.position, 10), Want: strconv.FormatInt(position, 10),
			})
		}
		position = a.position
		if !a.duplicate {
			news++
		}
	}
	if position > 0 && news != 1 {
		wrong = append(wrong, Difference{Field: "answers without duplicate", Got: strconv.Itoa(news), Want: "1"})
	}
	return position, wrong
}
