package access

import (
	"context"
	"slices"
	"testing"
)

func TestWhoeverWasNotLetInMayNothing(t *testing.T) {
	t.Parallel()
	i := Of(context.Background())
	if i.May(Read) || i.Sees("") || i.Sees("agent") {
		t.Errorf("nobody may something: %+v", i)
	}
}

func TestAnIdentity(t *testing.T) {
	t.Parallel()
	one := &Identity{Name: "one", Scopes: []Scope{Read}, Agents: []string{"A"}}
	if !one.May(Read) || one.May(Live) || one.May(Admin) || !one.Sees("A") || one.Sees("B") || one.Sees("") {
		t.Errorf("a key of one agent: %+v", one)
	}
	all := &Identity{Name: "all", Scopes: []Scope{Admin}}
	if !all.May(Read) || !all.May(SQL) || !all.Sees("A") || !all.Sees("") {
		t.Errorf("an admin: %+v", all)
	}
	if Of(With(context.Background(), one)) != one {
		t.Error("the context does not carry who asks")
	}
	for _, scope := range []Scope{SQL, Admin} {
		if (&Identity{Scopes: []Scope{Read, scope}, Agents: []string{"A"}}).Check() == nil {
			t.Errorf("a key of one agent may have %s", scope)
		}
	}
}

func TestScopesAreRead(t *testing.T) {
	t.Parallel()
	if got, err := ParseScopes("read, live,read"); err != nil || !slices.Equal(got, []Scope{Read, Live}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, list := range []string{"", "write", "read,", "READ"} {
		if got, err := ParseScopes(list); err == nil {
			t.Errorf("%q gives %v", list, got)
		}
	}
}
