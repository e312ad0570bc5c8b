package reaction_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rapport"
	"rapport/aggregator/reaction"
	"rapport/store"
	"rapport/store/storetest"
)

// sentences are what visitors and avatars say in the demo.
func sentences(b *testing.B) (user, agent []string) {
	file, err := os.Open("../../internal/demo/scripts.txt")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "user "); ok {
			user = append(user, text)
		} else if text, ok := strings.CutPrefix(lines.Text(), "agent "); ok {
			agent = append(agent, text)
		}
	}
	return user, agent
}

// BenchmarkReact tells what an event costs with the shipped rules, in 1,000 conversations
// at a time, of 20 messages each: all different, or the same one over and over.
func BenchmarkReact(b *testing.B) {
	for _, name := range []string{"SLACK_WEBHOOK_URL", "SUPPORT_URL", "OPERATIONS_URL", "HELP_URL", "WELCOME_URL", "CRM_URL"} {
		b.Setenv(name, "https://peer.example/in")
	}
	b.Setenv("CRM_TOKEN", "token")
	b.Setenv("HOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	user, agent := sentences(b)
	same := []string{"I would like a table for 8 people at half past eleven, please."}
	b.Run("different", func(b *testing.B) { benchmarkReact(b, user, agent) })
	b.Run("same", func(b *testing.B) { benchmarkReact(b, same, same) })
}

func benchmarkReact(b *testing.B, user, agent []string) {
	h := newHouse(b)
	h.now = time.Now()
	r, err := reaction.Open(h.DB, h.Watch, reaction.Options{File: "../../deploy/rules/rules.yaml", Logger: storetest.Logger()})
	if err != nil {
		b.Fatal(err)
	}
	h.step(r)
	const size = 5000
	n := 0
	for b.Loop() {
		b.StopTimer()
		events := make([]*rapport.Event, size)
		for i := range events {
			n++
			e := says(fmt.Sprint("session ", n%1000+1000*(n/20000)), user[n*7/1000%len(user)])
			if n/1000%2 == 1 {
				e.Role, e.Text = rapport.RoleAgent, agent[n*7/1000%len(agent)]
			}
			if len(user) > 1 {
				e.Text += fmt.Sprint(" ", n)
			}
			e.Fingerprint, e.Payload = sha256.Sum256(fmt.Append(nil, n)), []byte("{}")
			e.OccurredAt, e.ReceivedAt = h.now.Add(time.Duration(n)*time.Millisecond), h.now.Add(time.Duration(n)*time.Millisecond)
			events[i] = e
		}
		if _, err := h.Append(context.Background(), events); err != nil {
			b.Fatal(err)
		}
		for range size / 1000 {
			if _, err := h.Follow(context.Background(), store.SessionsFollower, h.sessions.Settings(), 1000, h.sessions.Apply); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		for range size / 500 {
			if _, err := r.Step(context.Background(), 500); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/event")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(len(h.rules()))/float64(n), "firings/event")
}
