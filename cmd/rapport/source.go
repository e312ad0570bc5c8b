package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"rapport/api/webhook"
	"rapport/store"
)

type sourceCmd struct {
	Add    sourceAddCmd    `cmd:"" help:"Add a webhook source."`
	List   sourceListCmd   `cmd:"" help:"List the webhook sources, without their secrets."`
	Rotate sourceRotateCmd `cmd:"" help:"Give a webhook source another secret or token; the old one goes on for a while."`
	Remove sourceRemoveCmd `cmd:"" help:"Remove a webhook source: its deliveries are refused within seconds."`
}

// proofFlags tell where a new secret and a new token come from: never from the
// command line, which every user of the machine can read.
type proofFlags struct {
	SecretFile     string `placeholder:"FILE" help:"Where the secret is that signs, alone; - is stdin. Without any of these four flags it is read from stdin."`
	GenerateSecret bool   `help:"Make a secret, and print it: this once."`
	TokenFile      string `placeholder:"FILE" help:"Where the token is that is sent as it is, alone; - is stdin."`
	GenerateToken  bool   `help:"Make a token, and print it: this once."`
}

// proofs are new secrets and tokens, as they are stored; generated are those that
// nobody has seen yet.
type proofs struct {
	all       []store.SourceProof
	generated []string
}

// read finds the new secret and the new token.
func (f *proofFlags) read(in io.Reader) (*proofs, error) {
	switch {
	case f.SecretFile != "" && f.GenerateSecret:
		return nil, errors.New("--secret-file and --generate-secret are two secrets: name one")
	case f.TokenFile != "" && f.GenerateToken:
		return nil, errors.New("--token-file and --generate-token are two tokens: name one")
	case f.SecretFile == "-" && f.TokenFile == "-":
		return nil, errors.New("--secret-file and --token-file can't both be stdin")
	}
	secretFile := f.SecretFile
	if *f == (proofFlags{}) {
		secretFile = "-"
		if isTerminal(in) {
			return nil, errors.New("name a proof: --generate-secret, --secret-file, --generate-token or --token-file, or pipe the secret into it")
		}
	}
	p := &proofs{}
	err := errors.Join(
		p.add("secret", secretFile, f.GenerateSecret, "whsec_", in, func(secret string) store.SourceProof {
			return store.SourceProof{Secret: []byte(secret)}
		}),
		p.add("token", f.TokenFile, f.GenerateToken, "whtok_", in, func(token string) store.SourceProof {
			digest := webhook.HashToken(token).SHA256
			return store.SourceProof{TokenSHA256: digest[:]}
		}))
	return p, err
}

func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// add reads or makes one, if it is asked for.
func (p *proofs) add(what, file string, generate bool, prefix string, in io.Reader, proof func(string) store.SourceProof) error {
	switch {
	case generate:
		text := prefix + randomText()
		p.generated = append(p.generated, text)
		p.all = append(p.all, proof(text))
	case file != "":
		text, err := readProof(file, in)
		if err != nil {
			return fmt.Errorf("the webhook %s %w", what, err)
		}
		p.all = append(p.all, proof(text))
	}
	return nil
}

// randomText is 256 random bits, in a base64 that both headers and Standard
// Webhooks take.
func randomText() string {
	bits := make([]byte, 32)
	_, _ = rand.Read(bits) // it never fails
	return base64.StdEncoding.EncodeToString(bits)
}

// maxProofBytes is how long a secret or token may be.
const maxProofBytes = 1024

// readProof reads a file that has a secret or token, and perhaps a line break
// after it. Its errors tell nothing of the content.
func readProof(file string, in io.Reader) (string, error) {
	if file != "-" {
		opened, err := os.Open(file) // #nosec G304 -- the operator names it
		if err != nil {
			return "", fmt.Errorf("can't be read: %w", err)
		}
		defer func() { _ = opened.Close() }()
		in = opened
	}
	content, err := io.ReadAll(io.LimitReader(in, maxProofBytes+3))
	if err != nil {
		return "", fmt.Errorf("can't be read: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if len(text) > maxProofBytes {
		return "", fmt.Errorf("has more than %d bytes", maxProofBytes)
	}
	return text, webhook.CheckProof(text)
}

// show prints what was generated, a line each, the secret first: on stdout, alone.
func (p *proofs) show(io streams) error {
	if len(p.generated) == 0 {
		return nil
	}
	_, _ = fmt.Fprintln(io.Err, "what was generated is shown this once")
	_, err := fmt.Fprintln(io.Out, strings.Join(p.generated, "\n"))
	return err
}

type sourceAddCmd struct {
	databaseFlags
	logFlags
	proofFlags
	Name         string  `arg:"" help:"What to call it: 1 to 40 of a to z, 0 to 9 and -."`
	Kinds        string  `placeholder:"KIND,…" help:"The proofs that it may use: legacy, account, standard (signatures), token. Default: whatever its secret and token allow."`
	Allow        bound   `placeholder:"CIDR,…" help:"The addresses that it may deliver from. Default: any."`
	ExpectedRate float64 `placeholder:"N" help:"Deliveries per second above which they are counted and reported; they are kept all the same. Default: none."`
}

// Help is what --help says besides the flags.
func (*sourceAddCmd) Help() string {
	return `What is generated is all that is written to stdout:
SECRET=$(rapport source add kiosk --generate-secret). Running servers know the source within
seconds, and take its deliveries at POST /webhook and POST /webhook/NAME.`
}

// Run adds a source.
func (c *sourceAddCmd) Run(ctx context.Context, io streams) error {
	source, err := c.source()
	if err != nil {
		return err
	}
	proofs, err := c.read(io.In)
	if err != nil {
		return err
	}
	source.Proofs = proofs.all
	if source.Kinds, err = kindsOf(c.Kinds, proofs.all); err != nil {
		return err
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		if err := db.SourceAdd(ctx, cliActor(), source); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Err, "%s is added; it may deliver to /webhook/%s\n", source.Name, source.Name)
		return proofs.show(io)
	})
}

// source is what the flags ask for, proofs apart.
func (c *sourceAddCmd) source() (store.Source, error) {
	if err := webhook.CheckName(c.Name); err != nil {
		return store.Source{}, err
	}
	ranges, err := parseRanges(string(c.Allow))
	if err != nil {
		return store.Source{}, err
	}
	if c.ExpectedRate < 0 || math.IsNaN(c.ExpectedRate) || math.IsInf(c.ExpectedRate, 0) {
		return store.Source{}, errors.New("--expected-rate must be a number of deliveries per second, at least 0")
	}
	return store.Source{Name: c.Name, Ranges: ranges, ExpectedRate: c.ExpectedRate}, nil
}

// parseRanges reads networks, and addresses as networks of one.
func parseRanges(list string) ([]netip.Prefix, error) {
	if list == "" {
		return nil, nil
	}
	var ranges []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		network, err := parseRange(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--allow must be networks or addresses such as 192.0.2.0/24,2001:db8::1, and one is %q", text)
		}
		if !slices.Contains(ranges, network) {
			ranges = append(ranges, network)
		}
	}
	return ranges, nil
}

// parseRange takes an IPv4 network in IPv6's clothes for what it is.
func parseRange(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, cmp.Or(err, errors.New("it has a zone"))
		}
		return addr.Unmap().Prefix(addr.Unmap().BitLen())
	}
	if addr := network.Addr(); addr.Is4In6() {
		return addr.Unmap().Prefix(network.Bits() - 96)
	}
	return network.Masked(), nil
}

// kindsOf are the kinds of proof of a new source: of what it can't prove there is
// none, and nothing is without a use.
func kindsOf(list string, proofs []store.SourceProof) ([]string, error) {
	isSecret := func(p store.SourceProof) bool { return p.Secret != nil }
	hasSecret := slices.ContainsFunc(proofs, isSecret)
	hasToken := slices.ContainsFunc(proofs, func(p store.SourceProof) bool { return !isSecret(p) })
	var kinds []string
	if list == "" {
		for _, kind := range webhook.Kinds() {
			if kind == webhook.Token && hasToken || kind != webhook.Token && hasSecret {
				kinds = append(kinds, string(kind))
			}
		}
		return kinds, nil
	}
	parsed, err := webhook.ParseKinds(list)
	if err != nil {
		return nil, fmt.Errorf("--kinds: %w", err)
	}
	for _, kind := range parsed {
		kinds = append(kinds, string(kind))
	}
	takesToken := slices.Contains(parsed, webhook.Token)
	takesSignature := slices.ContainsFunc(parsed, func(kind webhook.Kind) bool { return kind != webhook.Token })
	switch {
	case takesToken && !hasToken:
		return nil, errors.New("--kinds has token, but there is none: give one with --token-file or --generate-token")
	case takesSignature && !hasSecret:
		return nil, errors.New("--kinds has signatures, but there is no secret: give one with --secret-file or --generate-secret")
	case hasToken && !takesToken, hasSecret && !takesSignature:
		return nil, errors.New("--kinds leaves the secret or the token without a use: add its kind, or leave it out")
	}
	return kinds, nil
}

type sourceRotateCmd struct {
	databaseFlags
	logFlags
	proofFlags
	Name    string        `arg:"" help:"Which one."`
	Overlap time.Duration `default:"24h" placeholder:"DURATION" help:"For how long the old one goes on. Default: ${default}."`
	Finish  bool          `help:"End the overlap now: what was replaced proves nothing any more."`
}

// maxOverlap bounds how long two go on beside each other.
const maxOverlap = 366 * 24 * time.Hour

// Run gives a source another secret or token, or ends the time of the old one.
func (c *sourceRotateCmd) Run(ctx context.Context, io streams) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.Finish {
		return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
			ended, err := db.SourceFinish(ctx, cliActor(), c.Name)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(io.Err, "%s: %d old ones are ended\n", c.Name, ended)
			return err
		})
	}
	proofs, err := c.read(io.In)
	if err != nil {
		return err
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		if err := db.SourceRotate(ctx, cliActor(), c.Name, proofs.all, c.Overlap); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Err, "%s is rotated; the old one goes on for %v, or until `rapport source rotate %s --finish`\n",
			c.Name, c.Overlap, c.Name)
		return proofs.show(io)
	})
}

func (c *sourceRotateCmd) check() error {
	switch {
	case c.Name == webhook.DefaultSource:
		return errDefaultSource
	case c.Overlap < 0 || c.Overlap > maxOverlap:
		return fmt.Errorf("--overlap must be 0 to %v", maxOverlap)
	case c.Finish && c.proofFlags != (proofFlags{}):
		return errors.New("--finish ends the old ones, and takes no new one: rotate first")
	}
	return nil
}

// errDefaultSource says that the environment has what is to be changed.
var errDefaultSource = errors.New("the source default is what RAPPORT_WEBHOOK_SECRET and RAPPORT_WEBHOOK_TOKEN configure: " +
	"change them there, the new one and the old one separated by a comma, and start the server anew")

type sourceRemoveCmd struct {
	databaseFlags
	logFlags
	Name string `arg:"" help:"Which one."`
}

// Run removes a source.
func (c *sourceRemoveCmd) Run(ctx context.Context, io streams) error {
	if c.Name == webhook.DefaultSource {
		return errDefaultSource
	}
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		if err := db.SourceRemove(ctx, cliActor(), c.Name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(io.Err, "%s is removed\n", c.Name)
		return err
	})
}

type sourceListCmd struct {
	databaseFlags
	logFlags
	JSON bool `name:"json" help:"One JSON object a line."`
}

// sourceLine is what a list tells of a source.
type sourceLine struct {
	Name         string         `json:"name"`
	Kinds        []string       `json:"kinds"`
	Ranges       []netip.Prefix `json:"ranges"`
	ExpectedRate float64        `json:"expected_rate"`
	Secrets      []proofLine    `json:"secrets"`
	Tokens       []proofLine    `json:"tokens"`
	CreatedAt    *time.Time     `json:"created_at"`
	Proven       int64          `json:"proven"`
	OverRate     int64          `json:"over_rate"`
	ProvenAt     *time.Time     `json:"proven_at"`
	OverRateAt   *time.Time     `json:"over_rate_at"`
}

// proofLine tells the age of a secret or token, and nothing else of it.
type proofLine struct {
	CreatedAt time.Time  `json:"created_at"`
	EndsAt    *time.Time `json:"ends_at"`
}

// Run lists the sources: those that are stored, and that of the environment if
// something has come from it.
func (c *sourceListCmd) Run(ctx context.Context, io streams) error {
	return c.withStore(ctx, c.logger(io.Err), func(db *store.DB) error {
		lines, err := sourceLines(ctx, db)
		if err != nil {
			return err
		}
		if c.JSON {
			encoder := json.NewEncoder(io.Out)
			for _, line := range lines {
				if err := encoder.Encode(line); err != nil {
					return err
				}
			}
			return nil
		}
		return writeSources(io.Out, lines, time.Now())
	})
}

func sourceLines(ctx context.Context, db *store.DB) ([]*sourceLine, error) {
	sources, err := db.Sources(ctx)
	if err != nil {
		return nil, err
	}
	tallies, err := db.SourceTallies(ctx)
	if err != nil {
		return nil, err
	}
	var lines []*sourceLine
	for _, s := range sources {
		lines = append(lines, lineOf(s))
	}
	for _, t := range tallies {
		i := slices.IndexFunc(lines, func(l *sourceLine) bool { return l.Name == t.Source })
		if i < 0 {
			i = 0 // default comes first
			lines = slices.Insert(lines, i, &sourceLine{Name: t.Source})
		}
		lines[i].Proven, lines[i].OverRate = t.Proven, t.OverRate
		lines[i].ProvenAt, lines[i].OverRateAt = &t.ProvenAt, t.OverRateAt
	}
	return lines, nil
}

func lineOf(s store.Source) *sourceLine {
	line := &sourceLine{
		Name: s.Name, Kinds: s.Kinds, Ranges: s.Ranges, ExpectedRate: s.ExpectedRate, CreatedAt: &s.CreatedAt,
		Secrets: []proofLine{}, Tokens: []proofLine{},
	}
	for _, p := range s.Proofs {
		proof := proofLine{p.CreatedAt, p.EndsAt}
		if p.Secret != nil {
			line.Secrets = append(line.Secrets, proof)
		} else {
			line.Tokens = append(line.Tokens, proof)
		}
	}
	return line
}

func writeSources(out io.Writer, lines []*sourceLine, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tKINDS\tSECRETS\tTOKENS\tRANGES\tEXPECTED/S\tPROVEN\tOVER RATE\tLAST PROVEN\tLAST OVER RATE")
	for _, l := range lines {
		if l.CreatedAt == nil {
			_, _ = fmt.Fprintf(table, "%s\tby the environment\t\t\tany\t", l.Name)
		} else {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t", l.Name, strings.Join(l.Kinds, ","),
				ages(l.Secrets, now), ages(l.Tokens, now), rangesCell(l.Ranges))
		}
		_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\n", rateCell(l.ExpectedRate), l.Proven, l.OverRate,
			timeCell(l.ProvenAt, "never"), timeCell(l.OverRateAt, "never"))
	}
	return table.Flush()
}

// ages are how many there are, and how old; of what was replaced, for how long it
// goes on.
func ages(proofs []proofLine, now time.Time) string {
	if len(proofs) == 0 {
		return "none"
	}
	texts := make([]string, len(proofs))
	for i, p := range proofs {
		texts[i] = age(now.Sub(p.CreatedAt)) + " old"
		if p.EndsAt != nil {
			texts[i] += ", ends in " + age(p.EndsAt.Sub(now))
		}
	}
	return strconv.Itoa(len(proofs)) + " (" + strings.Join(texts, "; ") + ")"
}

// age is a duration as people say it.
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + "h"
	case d >= 2*time.Minute:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	}
	return strconv.Itoa(int(max(d, 0)/time.Second)) + "s"
}

func rangesCell(ranges []netip.Prefix) string {
	if len(ranges) == 0 {
		return "any"
	}
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}

func rateCell(rate float64) string {
	if rate == 0 {
		return "none"
	}
	return strconv.FormatFloat(rate, 'g', -1, 64)
}
