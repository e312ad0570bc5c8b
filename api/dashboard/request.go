package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"rapport/api/access"
)

// Request is what a page is asked for, and its way to the API.
type Request struct {
	*http.Request
	State State
	Who   *access.Identity
	Title string // of the page; a page's data may say more than its name

	api       http.Handler
	requestID string
	isSecure  bool // it came by HTTPS
	now       time.Time
}

// Failure is an answer of the API that is no success, or none at all.
type Failure struct {
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`
}

func (f *Failure) Error() string { return f.Detail }

// failureOf is what is shown of an error.
func failureOf(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return &Failure{Status: http.StatusInternalServerError, Detail: err.Error()}
}

// Get asks the API, and decodes the JSON that it answers. It is a *Failure if that is no
// success. It may be called by several goroutines at once.
func (r *Request) Get(path string, query url.Values, into any) error {
	return r.ask(http.MethodGet, path, query, into)
}

// Post has the API change something. It is a *Failure if that is no success.
func (r *Request) Post(path string) error { return r.ask(http.MethodPost, path, nil, nil) }

// Delete has the API delete something. It is a *Failure if that is no success.
func (r *Request) Delete(path string) error { return r.ask(http.MethodDelete, path, nil, nil) }

// Together calls functions at once, and returns the first error.
func (r *Request) Together(calls ...func() error) error {
	var group errgroup.Group
	for _, call := range calls {
		group.Go(call)
	}
	return group.Wait()
}

// base is where the server is, as the visitor asked for it.
func (r *Request) base() string {
	if r.isSecure {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func (r *Request) ask(method, path string, query url.Values, into any) error {
	told, err := r.answer(method, path, query)
	if err != nil {
		return err
	}
	if told.status/100 != 2 {
		return told.failure()
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(told.body.Bytes(), into); err != nil {
		return fmt.Errorf("the answer of %s %s can't be read: %w", method, path, err)
	}
	return nil
}

// askFor is for how long a question of a page is waited for: a database that is frozen
// answers nothing, and refuses nothing either.
const askFor = 20 * time.Second

// answer is what the API answers, whatever its status is.
func (r *Request) answer(method, path string, query url.Values) (*recorder, error) {
	target := path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	ctx := r.Context()
	if method == http.MethodGet { // a change that takes long is better done than given up
		limited, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		ctx = limited
	}
	question, err := http.NewRequestWithContext(ctx, method, target, http.NoBody)
	if err != nil {
		return nil, &Failure{Status: http.StatusNotFound, Detail: "there is nothing at this address"}
	}
	question.RequestURI, question.Host, question.RemoteAddr, question.TLS = target, r.Host, r.RemoteAddr, r.TLS
	question.Header = r.headers()
	told := &recorder{header: http.Header{}, status: http.StatusOK}
	if err = told.record(r.api, question); errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
		err = &Failure{Status: http.StatusServiceUnavailable, Detail: "the database has not answered for " + duration(askFor.Seconds())}
	}
	return told, err
}

// ownHeaders are those that are about the page, and not about who asks for it.
var ownHeaders = []string{
	"Accept", "Accept-Encoding", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Type",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Last-Event-ID", "Range", "Transfer-Encoding", "Upgrade",
}

// headers are the visitor's: the API lets in whom it would let in without a page, and
// logs what it is asked under the page's id.
func (r *Request) headers() http.Header {
	headers := r.Header.Clone()
	for _, name := range ownHeaders {
		headers.Del(name)
	}
	headers.Set("Accept", "application/json")
	headers.Set("X-Request-Id", r.requestID)
	return headers
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	begun  bool
}

func (rec *recorder) Header() http.Header { return rec.header }

func (rec *recorder) WriteHeader(status int) {
	if !rec.begun && status >= http.StatusOK {
		rec.status, rec.begun = status, true
	}
}

func (rec *recorder) Write(p []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	return rec.body.Write(p)
}

// record has a handler answer. One that gives up cuts its connection by a panic, which
// would end the process here.
func (rec *recorder) record(handler http.Handler, r *http.Request) (err error) {
	defer func() {
		if recover() != nil {
			err = &Failure{Status: http.StatusInternalServerError, Detail: "the server failed; its log says more", RequestID: rec.header.Get("X-Request-Id")}
		}
	}()
	handler.ServeHTTP(rec, r)
	return r.Context().Err()
}

func (rec *recorder) failure() *Failure {
	f := &Failure{}
	if json.Unmarshal(rec.body.Bytes(), f) != nil || f.Detail == "" {
		f.Detail = http.StatusText(rec.status)
	}
	f.Status = rec.status
	return f
}

// listed is a page of a list of the API.
type listed[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor"`
	HasMore    bool    `json:"has_more"`
}
