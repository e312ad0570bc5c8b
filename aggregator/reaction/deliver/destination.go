package deliver

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"rapport"
	"rapport/store"
)

// Delivery is something that a destination is to be told: see store.Tx.Enqueue.
type Delivery = store.Delivery

// The kinds of destinations.
const (
	Slack = "slack" // an incoming webhook of Slack's
	HTTP  = "http"  // any endpoint
)

// What a destination has where it says nothing else, and at most.
const (
	defaultTimeout     = 10 * time.Second
	maxTimeout         = 30 * time.Second
	defaultConcurrency = 4
	maxConcurrency     = 100
)

// Destination is where deliveries go, and how. Its secrets are in nothing that is shown,
// logged or stored.
type Destination struct {
	Name string
	Kind string // Slack or HTTP
	URL  string // http or https; of a Slack channel a secret itself

	Method  string      // of HTTP; POST if empty
	Headers http.Header // of HTTP, besides those of Standard Webhooks
	// Secrets sign HTTP deliveries by Standard Webhooks, each with a signature of its own, so
	// that they can be changed without a gap. A key is the secret as it is, or what its base64
	// stands for if it begins with whsec_. Without any, nothing is signed.
	Secrets []string

	// Render makes the body of the delivery's data: of HTTP the request's, of Slack a message
	// in JSON as an incoming webhook takes it. Nil sends the data as they are, to Slack in
	// a plain layout of blocks.
	Render func(data json.RawMessage) ([]byte, error)

	Timeout     time.Duration // of one attempt; 10 s if 0, at most 30 s
	Concurrency int           // how many are under way at once, in each process; 4 if 0, at most 100
}

// Settings are all there is to be told where to send what.
type Settings struct {
	Destinations []Destination
	Allow        []netip.Prefix // private and other special addresses that may be sent to
}

// complete checks a destination, and fills in what it doesn't say. The error repeats no
// secret.
func (d Destination) complete() (Destination, error) {
	if d.Method == "" {
		d.Method = http.MethodPost
	}
	if d.Timeout == 0 {
		d.Timeout = defaultTimeout
	}
	if d.Concurrency == 0 {
		d.Concurrency = defaultConcurrency
	}
	target, err := url.Parse(d.URL)
	switch {
	case d.Name == "":
		return d, errors.New("a destination has no name")
	case d.Kind != Slack && d.Kind != HTTP:
		return d, fmt.Errorf("destination %s: its kind must be slack or http", d.Name)
	case err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https":
		return d, fmt.Errorf("destination %s: its URL must be http://… or https://…", d.Name)
	case d.Timeout < 0 || d.Timeout > maxTimeout:
		return d, fmt.Errorf("destination %s: its timeout must be %v at most", d.Name, maxTimeout)
	case d.Concurrency < 0 || d.Concurrency > maxConcurrency:
		return d, fmt.Errorf("destination %s: its concurrency must be 1 to %d", d.Name, maxConcurrency)
	case slices.Contains(d.Secrets, ""):
		return d, fmt.Errorf("destination %s: a secret is empty", d.Name)
	}
	for name, values := range d.Headers {
		if !httpguts.ValidHeaderFieldName(name) || len(values) == 0 || !allOf(values, httpguts.ValidHeaderFieldValue) {
			return d, fmt.Errorf("destination %s: its header %q can't be sent", d.Name, name)
		}
	}
	if _, err := http.NewRequest(d.Method, "http://localhost", nil); err != nil {
		return d, fmt.Errorf("destination %s: its method is none of HTTP's", d.Name)
	}
	return d, nil
}

func allOf(values []string, is func(string) bool) bool {
	return !slices.ContainsFunc(values, func(value string) bool { return !is(value) })
}

// isSamePlace reports whether two are told in the same way at the same place. What is
// said there may differ.
func (d *Destination) isSamePlace(other *Destination) bool {
	return d.Kind == other.Kind && d.URL == other.URL && d.Method == other.Method &&
		d.Timeout == other.Timeout && d.Concurrency == other.Concurrency &&
		slices.Equal(d.Secrets, other.Secrets) && maps.EqualFunc(d.Headers, other.Headers, slices.Equal[[]string])
}

// shown is an error in one line that may be shown and stored: without the destination's
// secrets, and whatever a peer may have put into it.
func (d *Destination) shown(err error) string {
	text := err.Error()
	for _, secret := range d.secrets() {
		text = strings.ReplaceAll(text, secret, "…")
	}
	text = strings.Join(strings.Fields(rapport.CleanText(text)), " ")
	if runes := []rune(text); len(runes) > maxShown {
		text = string(runes[:maxShown-1]) + "…"
	}
	return text
}

// maxShown is how much of an error is shown, in characters.
const maxShown = 300

// minHidden is how long a text must be, in bytes, to be taken out of others: shorter ones
// stand in any.
const minHidden = 4

// secrets are what nobody is to see, the longest first.
func (d *Destination) secrets() []string {
	found := append([]string{d.URL}, d.Secrets...)
	if target, err := url.Parse(d.URL); err == nil {
		found = append(found, target.String(), target.RequestURI(), target.Path, target.EscapedPath(), target.RawQuery)
		if target.User != nil {
			password, _ := target.User.Password()
			found = append(found, target.User.String(), target.User.Username(), password)
		}
	}
	for _, values := range d.Headers {
		found = append(found, values...)
	}
	found = slices.DeleteFunc(found, func(s string) bool { return len(s) < minHidden })
	slices.SortFunc(found, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(found)
}
