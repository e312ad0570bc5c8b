package stream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"rapport/internal/guard"
	"rapport/store"
)

// Config is a stream as an operator writes it: NAME=URL, with what to send behind a #.
type Config struct {
	Name   string
	URL    *url.URL // of the destination, without the part behind the #
	Agents []string // of these alone; none is all
	Types  []string // event types, of these alone; none is all
	Start  store.StreamStart
}

// nameForm is as the database has it.
var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// Parse reads a stream. Its errors repeat nothing of the URL but its scheme, for the rest
// may hold a secret.
func Parse(text string) (Config, error) {
	name, address, found := strings.Cut(text, "=")
	if !found || !nameForm.MatchString(name) {
		return Config{}, errors.New("a stream is written NAME=URL, the name 1 to 40 of a to z, 0 to 9 and -, such as lake=kinesis://avatar-events?region=eu-west-1")
	}
	wrong := func(format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("the stream %s: %w", name, fmt.Errorf(format, args...))
	}
	address, options, _ := strings.Cut(address, "#")
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return wrong("its URL can't be read: it must be https://host/path or kinesis://stream-name")
	}
	switch u.Scheme {
	case "http", "https", "kinesis":
	default:
		return wrong("there is no destination of the kind %q: it must be https, http or kinesis", u.Scheme)
	}
	c := Config{Name: name, URL: u, Start: store.StreamStart{AtHead: true}}
	if err := c.readOptions(options); err != nil {
		return wrong("%w", err)
	}
	return c, nil
}

// readOptions reads what is behind the #, which is written as a query is.
func (c *Config) readOptions(text string) error {
	options, err := url.ParseQuery(text)
	if err != nil {
		return errors.New("what is behind the # can't be read: it must be like #agent=A80HVD8577&type=chat.push")
	}
	for option, values := range options {
		for _, value := range values {
			if value == "" {
				return fmt.Errorf("%s is empty", option)
			}
		}
		switch option {
		case "agent":
			c.Agents = values
		case "type":
			c.Types = values
		case "from":
			if c.Start, err = ParseStart(values[len(values)-1]); err != nil {
				return fmt.Errorf("from: %w", err)
			}
		default:
			return fmt.Errorf("there is no option %q: there are agent, type and from", option)
		}
	}
	return nil
}

// ParseStart reads where a stream begins: head, beginning, or a position of the log, behind
// which it begins.
func ParseStart(text string) (store.StreamStart, error) {
	switch text {
	case "head":
		return store.StreamStart{AtHead: true}, nil
	case "beginning":
		return store.StreamStart{}, nil
	}
	position, err := strconv.ParseInt(text, 10, 64)
	if err != nil || position < 0 {
		return store.StreamStart{}, fmt.Errorf("%q is no place in the log: write head, beginning, or the position behind which to begin", text)
	}
	return store.StreamStart{Position: position}, nil
}

// Destination is where it goes, without what may be secret, as a path may be.
func (c *Config) Destination() string { return c.URL.Scheme + "://" + c.URL.Host }

// IsHTTP reports whether its requests are signed by us, for which they need a secret.
func (c *Config) IsHTTP() bool { return c.URL.Scheme != "kinesis" }

// Open makes the destination of a stream. Nothing is asked of it yet.
func Open(ctx context.Context, c Config, secret string, guard *guard.Guard) (Sink, error) {
	var sink Sink
	var err error
	if c.IsHTTP() {
		if addr, notOne := netip.ParseAddr(c.URL.Hostname()); notOne == nil { // a name is looked up for each connection
			if err := guard.Check(addr); err != nil {
				return nil, fmt.Errorf("the stream %s: %w", c.Name, err)
			}
		}
		sink, err = NewHTTP(HTTPOptions{URL: c.URL.String(), Name: c.Name, Secret: secret, Transport: guard.Transport()})
	} else {
		var options KinesisOptions
		if options, err = kinesisOptions(c.URL); err == nil {
			sink, err = NewKinesis(ctx, options)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the stream %s: %w", c.Name, err)
	}
	return sink, nil
}
