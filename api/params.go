package api

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
)

// checkQuery refuses what huma would pass over in silence: parameters that an
// operation doesn't have, given twice, or empty. Each is a typing error that
// would change the answer unnoticed.
func checkQuery(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	if p := queryProblem(r.URL, ctx.Operation()); p != nil {
		p.write(w)
		return
	}
	next(ctx)
}

func queryProblem(u *url.URL, op *huma.Operation) *problem {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return newProblem(http.StatusBadRequest, "the query string can't be read: percent-encode the values")
	}
	var wrong []parameter
	for name, values := range query {
		isKnown := slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		if message := parameterFault(isKnown, values); message != "" {
			wrong = append(wrong, parameter{Location: "query." + name, Message: message})
		}
	}
	if wrong == nil {
		return nil
	}
	return parametersProblem(http.StatusBadRequest, "", wrong)
}

func parameterFault(known bool, values []string) string {
	switch {
	case !known:
		return "unknown query parameter"
	case len(values) > 1:
		return "given more than once"
	case values[0] == "":
		return "empty: give it a value, or leave it out"
	}
	return ""
}

// timeParam is an RFC 3339 time, of any offset but with one.
type timeParam struct {
	at  time.Time
	set bool
}

var errNotRFC3339 = errors.New("not an RFC 3339 time with an offset, such as 2026-01-31T09:30:00Z (write + as %2B)")

// UnmarshalText reads the parameter.
func (p *timeParam) UnmarshalText(text []byte) error {
	if err := p.at.UnmarshalText(text); err != nil {
		return errNotRFC3339
	}
	p.set = true
	return nil
}

// Schema describes it to huma.
func (timeParam) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

// MarshalJSON shows the bound, null if it was not given.
func (p *timeParam) MarshalJSON() ([]byte, error) {
	if !p.set {
		return []byte("null"), nil
	}
	return timestamp(p.bound()).MarshalJSON()
}

// bound is the time as an end of a range, zero if it was not given. Stored times
// are whole microseconds from 1970 to 9999, so the next of them bounds the same.
func (p *timeParam) bound() time.Time {
	if !p.set {
		return time.Time{}
	}
	next := p.at.Add(time.Microsecond - 1).Truncate(time.Microsecond)
	return fromMicros(min(max(next.UnixMicro(), 0), maxMicros))
}

// durationParam is a number of seconds, or a Go duration.
type durationParam struct {
	value time.Duration
	set   bool
}

const (
	defaultWait = 5 * time.Second
	maxWait     = time.Minute
)

// UnmarshalText reads the parameter.
func (p *durationParam) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	if err != nil {
		value, err = time.ParseDuration(string(text) + "s")
	}
	if err != nil || value < 0 || value > maxWait {
		return errors.New("not a duration from 0s to 60s, such as 5, 5s or 500ms")
	}
	p.value, p.set = value, true
	return nil
}

// Schema describes it to huma.
func (durationParam) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Examples: []any{"5s"}}
}
