// Package access says who asks, and what they may.
package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Scope is a kind of thing that a key may do.
type Scope string

// The scopes. Admin includes the others.
const (
	Read  Scope = "read"  // sessions, messages, events, quarantine, and what is computed of them
	SQL   Scope = "sql"   // statements of one's own, over all agents
	Live  Scope = "live"  // what happens now, as it happens
	Admin Scope = "admin" // whatever changes or erases something, and the audit
)

// Scopes are all there are, in the order in which they are shown.
func Scopes() []Scope { return []Scope{Read, SQL, Live, Admin} }

// ParseScopes reads a list such as read,live. It is an error if it names none, or
// one that doesn't exist.
func ParseScopes(list string) ([]Scope, error) {
	var scopes []Scope
	for name := range strings.SplitSeq(list, ",") {
		scope := Scope(strings.TrimSpace(name))
		if !slices.Contains(Scopes(), scope) {
			return nil, fmt.Errorf("%q is no scope: there are read, sql, live and admin", scope)
		}
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, nil
}

// Identity is whoever asks.
type Identity struct {
	Name   string   // of the key, for the audit; never the key
	Scopes []Scope  // what it may
	Agents []string // whose data it sees; empty: everybody's
}

// Check tells whether there can be such an identity.
func (i *Identity) Check() error {
	switch {
	case len(i.Scopes) == 0:
		return errors.New("a key needs a scope: read, sql, live or admin")
	case len(i.Agents) > 0 && (i.May(SQL) || i.May(Admin)):
		return errors.New("a key limited to agents can't have the scope sql or admin: SQL and administration reach everybody's data")
	}
	return nil
}

// May reports whether it has a scope.
func (i *Identity) May(scope Scope) bool {
	return slices.Contains(i.Scopes, scope) || slices.Contains(i.Scopes, Admin)
}

// Sees reports whether an agent's data is for it. The empty agent_id is what
// names no agent: only those see it who see everybody.
func (i *Identity) Sees(agentID string) bool {
	return len(i.Agents) == 0 || slices.Contains(i.Agents, agentID)
}

type key struct{}

// With is the context of what an identity asks.
func With(ctx context.Context, i *Identity) context.Context { return context.WithValue(ctx, key{}, i) }

// Of is whoever asks; nobody, who may nothing, where no one was let in.
func Of(ctx context.Context) *Identity {
	if i, ok := ctx.Value(key{}).(*Identity); ok {
		return i
	}
	return nobody
}

// nobody sees no agent: a name that no agent_id can have stands in its list.
var nobody = &Identity{Name: "nobody", Agents: []string{"\x00"}}
