package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"rapport/api/access"
)

// What an operation may ask for besides a scope.
const (
	anyone access.Scope = "anyone" // no key at all: its path is one of openPaths
	anyKey access.Scope = "any"    // any key that is valid
)

// scopeKey is where the scope of an operation stands in its metadata.
const scopeKey = "scope"

// humaKey marks the operations that huma serves, which refuse unknown parameters.
const humaKey = "huma"

// register adds an operation for those who have a scope. Its errors become
// problems. There is no other way: an operation without a scope is refused to
// everybody.
func register[I, O any](s *server, scope access.Scope, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	if op.Metadata == nil {
		op.Metadata = make(map[string]any)
	}
	op.Metadata[scopeKey], op.Metadata[humaKey] = scope, true
	if scope != anyone {
		op.Description = describeScope(op.Description, scope)
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		limited, cancel := s.limitTime(ctx, op.Method, scope)
		defer cancel()
		out, err := handle(limited, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		if told, ok := any(out).(interface{ echo(any) }); ok {
			told.echo(in)
		}
		return out, nil
	})
}

// maxReadTime is for how long a read may take. Most of it is for those that wait for a
// minute; a statement ends after 30 s. A database that says nothing at all has neither
// end, and the reader has to be told before http.Server gives the connection up.
const maxReadTime = 70 * time.Second

// limitTime is the context in which a method does its work. (Probes have a time of their
// own.)
func (s *server) limitTime(ctx context.Context, method string, scope access.Scope) (context.Context, context.CancelFunc) {
	if method != http.MethodGet || scope == anyone {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.readTime)
}

// read registers a GET for those who may read.
func read[I, O any](s *server, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	op.Method = http.MethodGet
	register(s, access.Read, op, handle)
}

// change registers an operation for those who may administer: a POST, unless it
// names another method. Its handler records in the audit what it does, as
// actorOf(ctx).
func change[I, O any](s *server, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	if op.Method == "" {
		op.Method = http.MethodPost
	}
	register(s, access.Admin, op, handle)
}

// route adds what huma doesn't serve, for those who have a scope.
func (s *server) route(router chi.Router, scope access.Scope, method, path string, handler http.Handler) {
	router.Method(method, path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := demand(access.Of(r.Context()), scope); p != nil {
			s.deny(w, "", p)
			return
		}
		handler.ServeHTTP(w, r)
	}))
}

// checkScope keeps out whoever lacks the scope of an operation.
func (s *server) checkScope(ctx huma.Context, next func(huma.Context)) {
	scope, _ := ctx.Operation().Metadata[scopeKey].(access.Scope)
	if p := demand(access.Of(ctx.Context()), scope); p != nil {
		_, w := humachi.Unwrap(ctx)
		s.deny(w, "", p)
		return
	}
	next(ctx)
}

// demand is nil if an identity has a scope.
func demand(who *access.Identity, scope access.Scope) *problem {
	switch {
	case scope == anyone, scope == anyKey && len(who.Scopes) > 0, scope != "" && who.May(scope):
		return nil
	case scope == "":
		return internalError() // it was not registered as it must be
	}
	return newProblem(http.StatusForbidden, fmt.Sprintf("this needs a key with the scope %s; the key %s doesn't have it", scope, who.Name))
}

// allAgents keeps out whoever sees some agents only: it tells of all together.
func (s *server) allAgents(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who := access.Of(r.Context()); len(who.Agents) > 0 {
			s.deny(w, "", newProblem(http.StatusForbidden, "this tells of all agents; the key "+who.Name+" is limited to some"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func describeScope(description string, scope access.Scope) string {
	needs := fmt.Sprintf("Needs a key with the scope %s.", scope)
	if scope == anyKey {
		needs = "Needs a key, of any scope."
	}
	if description == "" {
		return needs
	}
	return description + " " + needs
}

// actorOf is who asks, as the audit names them.
func actorOf(ctx context.Context) string { return "key:" + access.Of(ctx).Name }
