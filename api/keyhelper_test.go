package api

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"rapport/api/access"
	"rapport/store"
)

// key makes an API key, and returns it.
func (l *live) key(t testing.TB, name string, scopes []string, agents ...string) string {
	t.Helper()
	return l.keyUntil(t, name, nil, scopes, agents...)
}

func (l *live) keyUntil(t testing.TB, name string, until *time.Time, scopes []string, agents ...string) string {
	t.Helper()
	key := access.NewKey()
	err := l.db.CreateKey(t.Context(), store.NewKey{
		Name: name, Prefix: access.PrefixOf(key), Hash: access.HashOf(key), Scopes: scopes, Agents: agents, ExpiresAt: until,
	}, "cli:test")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (l *live) revoke(t testing.TB, name string) {
	t.Helper()
	if err := l.db.RevokeKey(t.Context(), name, "cli:test"); err != nil {
		t.Fatal(err)
	}
}

func bearerOf(key string) []string { return []string{"Authorization", "Bearer " + key} }

// as is a handler whose requests carry a key.
func as(h http.Handler, key string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+key)
		h.ServeHTTP(w, r)
	})
}

// becomes polls a path until it is answered with a status.
func becomes(t *testing.T, h http.Handler, status int, path string, headers ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		w := get(h, path, headers...)
		if w.Code == status {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("GET %s is still %d, want %d", path, w.Code, status)
		}
	}
}

var readScope = slices.Clip([]string{"read"})
