// Command cmd sends dialogues to a running server as webhook deliveries, and
// compares what GET /sessions then shows with the reference. The server must be
// empty, and have the default settings.
//
//	go run ./internal/conformance/cmd -dialogues dialogues.ndjson.gz
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"rapport"
	"rapport/internal/conformance"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

type options struct {
	dialogues string
	limit     int
	url       string
	base      time.Time
	days      int
	check     conformance.CheckOptions
}

func parse(args []string, stderr io.Writer) (options, error) {
	opts := options{base: time.Now().UTC()}
	opts.check.Settings = rapport.DefaultSettings()
	f := flag.NewFlagSet("conformance", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&opts.dialogues, "dialogues", "", "file of dialogues: lines of {\"id\",\"turns\":[[role, text],…]}, gzipped or plain")
	f.IntVar(&opts.limit, "limit", 0, "send only so many dialogues (0: all)")
	f.StringVar(&opts.url, "url", "http://127.0.0.1:8080", "the server")
	f.TextVar(&opts.base, "base", opts.base, "the conversations are before this time, RFC 3339")
	f.IntVar(&opts.days, "days", 3, "and end within so many days before it")
	f.Uint64Var(&opts.check.Seed, "seed", 1, "of everything that is random")
	f.IntVar(&opts.check.Connections, "connections", 32, "how many deliveries are sent at once")
	f.StringVar(&opts.check.Secret, "webhook-secret", "", "signs the deliveries")
	f.StringVar(&opts.check.Token, "webhook-token", "", "bearer token of the deliveries")
	f.StringVar(&opts.check.APIToken, "api-token", "", "bearer token of the reads")
	if err := f.Parse(args); err != nil {
		return options{}, err
	}
	if opts.dialogues == "" || f.NArg() > 0 {
		return options{}, errors.New("name one file of dialogues with -dialogues")
	}
	return opts, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dialogues, err := readDialogues(opts.dialogues)
	if err != nil {
		return err
	}
	if opts.limit > 0 && opts.limit < len(dialogues) {
		dialogues = dialogues[:opts.limit]
	}
	deliveries := conformance.Generate(dialogues, conformance.Options{Seed: opts.check.Seed, Base: opts.base, Days: opts.days})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: opts.check.Connections}}
	report, err := conformance.Check(ctx, client, opts.url, deliveries, opts.check)
	if err != nil {
		return err
	}
	return show(report, len(dialogues), stdout)
}

func readDialogues(name string) ([]conformance.Dialogue, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return conformance.ReadDialogues(file)
}

// show prints the report, and errs if the server was wrong.
func show(report conformance.Report, dialogues int, stdout io.Writer) error {
	fmt.Fprintf(stdout, "%d dialogues, %d deliveries in %d posts, %d answered as duplicates, %d sessions, %d of them open\n",
		dialogues, report.Deliveries, report.Posts, report.Duplicates, report.Sessions, report.Open)
	const most = 50
	for i, d := range report.Differences {
		if i == most {
			fmt.Fprintf(stdout, "and %d more\n", len(report.Differences)-most)
			break
		}
		fmt.Fprintln(stdout, d)
	}
	if n := len(report.Differences); n > 0 {
		return fmt.Errorf("%d differences from the reference", n)
	}
	fmt.Fprintln(stdout, "every field of every session is as computed from the definitions")
	return nil
}
