package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const problemType = "application/problem+json"

// problem is the one shape of every error: RFC 9457.
type problem struct {
	Type      string      `json:"type" doc:"Always about:blank: the status says what kind of error it is."`
	Title     string      `json:"title" doc:"The status in words."`
	Status    int         `json:"status" doc:"The HTTP status."`
	Detail    string      `json:"detail" doc:"What is wrong, and what to do."`
	RequestID string      `json:"request_id" doc:"As in the header X-Request-Id; the server's log has it too."`
	Errors    []parameter `json:"errors,omitempty" nullable:"false" doc:"The parameters at fault."`

	SQLState string `json:"sqlstate,omitempty" doc:"Of a statement: the error code of Postgres, such as 42703."`
	Position int    `json:"position,omitempty" minimum:"1" doc:"Of a statement: where in the query, in characters from 1."`
	Hint     string `json:"hint,omitempty" doc:"Of a statement: what Postgres advises."`

	headers http.Header
}

// parameter tells what is wrong with one parameter.
type parameter struct {
	Location string `json:"location" doc:"Where it is, such as query.limit."`
	Message  string `json:"message" doc:"What is wrong with it."`
}

func newProblem(status int, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// badParameter is a 400 for one query parameter.
func badParameter(name, message string) *problem {
	p := newProblem(http.StatusBadRequest, name+": "+message)
	p.Errors = []parameter{{Location: "query." + name, Message: message}}
	return p
}

// tryAgain is the one answer to whatever will pass.
func tryAgain(detail string) *problem {
	p := newProblem(http.StatusServiceUnavailable, detail)
	p.headers = http.Header{"Retry-After": {"1"}}
	return p
}

func unauthorized(detail string) *problem {
	p := newProblem(http.StatusUnauthorized, detail)
	p.headers = http.Header{"Www-Authenticate": {"Bearer"}}
	return p
}

// internalError says nothing of what failed: that is for the log.
func internalError() *problem {
	return newProblem(http.StatusInternalServerError, "the server failed; its log says more under this request_id")
}

func (p *problem) Error() string { return p.Detail }

// GetStatus, GetHeaders and ContentType are what huma asks of an error.
func (p *problem) GetStatus() int { return p.Status }

func (p *problem) GetHeaders() http.Header { return p.headers }

func (p *problem) ContentType(string) string { return problemType }

// write answers with the problem, where huma does not.
func (p *problem) write(w http.ResponseWriter) {
	header := w.Header()
	for name, values := range p.headers {
		header[name] = values
	}
	header.Set("Content-Type", problemType)
	p.RequestID = header.Get(requestIDHeader)
	w.WriteHeader(p.Status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(p) // it fails only if the client is gone
}

// huma makes its own errors through one variable of its package, so it can be
// set only once for the process.
func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return humaProblem(status, message, errs)
	}
}

// humaProblem is a problem of what huma found wrong: with the parameters, nearly
// always. huma says 422 of those.
func humaProblem(status int, message string, errs []error) *problem {
	if status >= http.StatusInternalServerError {
		return internalError() // errs are ours, not the reader's
	}
	if status == http.StatusUnprocessableEntity {
		status = http.StatusBadRequest
	}
	var wrong []parameter
	for _, err := range errs {
		if p, ok := errors.AsType[*problem](err); ok {
			return p
		}
		if detailer, ok := err.(huma.ErrorDetailer); ok {
			detail := detailer.ErrorDetail()
			wrong = append(wrong, parameter{detail.Location, detail.Message})
		}
	}
	return parametersProblem(status, message, wrong)
}

// parametersProblem names every parameter at fault, in the order of their names.
func parametersProblem(status int, message string, wrong []parameter) *problem {
	slices.SortStableFunc(wrong, func(a, b parameter) int { return strings.Compare(a.Location, b.Location) })
	var details []string
	for _, w := range wrong {
		kind, name, _ := strings.Cut(w.Location, ".")
		if kind == "path" { // the path's only parameters are ids, and an empty one names nothing
			return newProblem(http.StatusNotFound, "an empty "+name+" names nothing")
		}
		if name == "" { // it is the body as a whole
			name = kind
		}
		details = append(details, fmt.Sprintf("%s: %s", name, w.Message))
	}
	if len(details) > 0 {
		message = strings.Join(details, "; ")
	}
	p := newProblem(status, message)
	p.Errors = wrong
	return p
}

// fillRequestID completes the problems that huma writes.
func fillRequestID(ctx huma.Context, _ string, body any) (any, error) {
	if p, ok := body.(*problem); ok {
		p.RequestID = requestIDOf(ctx.Context())
	}
	return body, nil
}
