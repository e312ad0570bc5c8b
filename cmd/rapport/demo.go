package main

import (
	"context"

	"rapport/internal/demo"
)

type demoCmd struct {
	URL           string  `name:"url" default:"http://127.0.0.1:8080" help:"The server to send to."`
	Sessions      int     `default:"100" help:"How many sessions to make up: 1 to 50000."`
	Rate          float64 `default:"200" help:"How many deliveries to send per second; 0 is as fast as possible."`
	Concurrency   int     `default:"8" help:"How many deliveries may be under way at once."`
	Seed          *uint64 `placeholder:"NUMBER" help:"Make up the same conversations again. Default: a random one, which is printed."`
	WebhookSecret string  `secret:"" placeholder:"SECRET,…" help:"The server's webhook secrets, as it has them; the first one signs."`
	WebhookToken  string  `secret:"" placeholder:"TOKEN,…" help:"The server's webhook tokens, as it has them; the first one is sent."`
}

// Run sends the conversations of a made-up day.
func (c *demoCmd) Run(ctx context.Context, io streams) error {
	secret, err := firstOf("webhook-secret", c.WebhookSecret)
	if err != nil {
		return err
	}
	token, err := firstOf("webhook-token", c.WebhookToken)
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{
		URL: c.URL, Sessions: c.Sessions, Rate: c.Rate, Concurrency: c.Concurrency, Seed: c.Seed,
		WebhookSecret: secret, WebhookToken: token,
	}, io.Out, io.Err)
}

// firstOf is the first item of a comma-separated flag, empty if it is not set.
func firstOf(flag, value string) (string, error) {
	items, err := list(flag, value)
	if err != nil || len(items) == 0 {
		return "", err
	}
	return items[0], nil
}
