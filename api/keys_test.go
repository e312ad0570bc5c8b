package api

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"rapport/api/access"
)

func TestKeysLetIn(t *testing.T) {
	t.Parallel()

	t.Run("a key that was just made, at once, however often others were asked for", func(t *testing.T) {
		t.Parallel()
		l := newLive(t, Config{})
		for _, name := range []string{"a", "b", "c"} {
			key := l.key(t, name, readScope)
			if w := get(l, "/sessions", bearerOf(key)...); w.Code != http.StatusOK {
				t.Fatalf("%s: %d %s", name, w.Code, w.Body)
			}
		}
	})

	t.Run("until it is revoked", func(t *testing.T) {
		t.Parallel()
		l := newLive(t, Config{})
		key := l.key(t, "a", readScope)
		l.key(t, "b", readScope)
		becomes(t, l, http.StatusOK, "/sessions", bearerOf(key)...)
		l.revoke(t, "a")
		revoked := time.Now()
		becomes(t, l, http.StatusUnauthorized, "/sessions", bearerOf(key)...)
		if took := time.Since(revoked); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})

	t.Run("until the moment at which it expires", func(t *testing.T) {
		t.Parallel()
		l := newLive(t, Config{})
		until := noon.Add(time.Hour)
		key := l.keyUntil(t, "a", &until, readScope)
		l.now.Store(new(until.Add(-time.Microsecond)))
		if w := get(l, "/sessions", bearerOf(key)...); w.Code != http.StatusOK {
			t.Errorf("just before: %d", w.Code)
		}
		l.now.Store(&until)
		wantProblem(t, get(l, "/sessions", bearerOf(key)...), http.StatusUnauthorized)
		wantProblem(t, get(l, "/sessions"), http.StatusUnauthorized) // an expired key is no open door
	})

	t.Run("in Authorization alone", func(t *testing.T) {
		t.Parallel()
		l := newLive(t, Config{})
		key := l.key(t, "a", readScope)
		for name, headers := range map[string][]string{
			"nothing": nil, "X-API-Key": {"X-API-Key", key}, "Basic": {"Authorization", "Basic " + key}, "alone": {"Authorization", key},
			"twice": {"Authorization", "Bearer " + key, "Authorization", "Bearer " + key}, "cookie": {"Cookie", "rapport=" + key},
		} {
			if w := get(l, "/sessions", headers...); w.Code != http.StatusUnauthorized {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		if w := get(l, "/sessions?key="+key, bearerOf(key)...); w.Code != http.StatusBadRequest {
			t.Errorf("in the query: %d", w.Code)
		}
	})
}

func TestThisMachineNeedsNoKeyAsLongAsThereIsNone(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	if w := get(l, "/audit"); w.Code != http.StatusOK {
		t.Fatalf("without any key: %d %s", w.Code, w.Body)
	}
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		w := send(l, newRequest(http.MethodPost, "/dead-letters/retry", nil, name, value))
		wantProblem(t, w, http.StatusUnauthorized)
	}
	key := l.key(t, "a", readScope)
	becomes(t, l, http.StatusUnauthorized, "/sessions")
	l.revoke(t, "a")
	becomes(t, l, http.StatusOK, "/sessions")
	if w := get(l, "/sessions", bearerOf(key)...); w.Code != http.StatusUnauthorized {
		t.Errorf("with the revoked key: %d", w.Code)
	}

	t.Run("unless others can reach the server", func(t *testing.T) {
		t.Parallel()
		h := newServer(t, options{config: Config{Exposed: true}})
		wantProblem(t, get(h, "/openapi.json"), http.StatusUnauthorized)
	})
}

func TestKeysOfADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	db, watch := noDatabase(t)
	h := newServer(t, options{config: Config{DB: db, Watch: watch, APIToken: "s3cret"}})
	w := get(h, "/openapi.json", bearerOf(access.NewKey())...)
	wantProblem(t, w, http.StatusServiceUnavailable)
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	for what, status := range map[string]int{"s3cret": http.StatusOK, "no key": http.StatusUnauthorized} {
		if w := get(h, "/openapi.json", bearerOf(what)...); w.Code != status {
			t.Errorf("%s: %d, want %d", what, w.Code, status)
		}
	}
	open := newServer(t, options{config: Config{DB: db, Watch: watch}})
	wantProblem(t, get(open, "/openapi.json"), http.StatusServiceUnavailable) // there may be keys

	t.Run("go on as they were known last", func(t *testing.T) {
		t.Parallel()
		l := newLive(t, Config{})
		key := l.key(t, "a", readScope)
		becomes(t, l, http.StatusOK, "/openapi.json", bearerOf(key)...)
		l.db.Close()
		if w := get(l, "/openapi.json", bearerOf(key)...); w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func TestWrongKeysCostTheDatabaseNothing(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.key(t, "a", readScope)
	keys := NewKeys(l.db.DB, discard())
	began := time.Now()
	var mu sync.Mutex
	reads := map[*keySet]bool{}
	var wg sync.WaitGroup
	for range 3000 {
		wg.Go(func() {
			if key, known := keys.find(t.Context(), access.NewKey()); key != nil || !known {
				t.Errorf("%v, %v", key, known)
			}
			keys.mu.Lock()
			set := keys.set
			keys.mu.Unlock()
			mu.Lock()
			defer mu.Unlock()
			reads[set] = true
		})
	}
	wg.Wait()
	took := time.Since(began)
	if most := int(took/keysPause) + 2; len(reads) > most {
		t.Errorf("%d reads in %v, want %d at most", len(reads), took, most)
	}

	t.Run("and one that is known to be none is told so at once", func(t *testing.T) {
		wrong := access.NewKey()
		for range 2 {
			if key, known := keys.find(t.Context(), wrong); key != nil || !known {
				t.Fatalf("%v, %v", key, known)
			}
			if keys.mayWait(access.HashOf(wrong)) {
				t.Fatal("it is looked up again")
			}
		}
	})
}

func TestTheUseOfKeysIsWrittenDown(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.key(t, "a", readScope)
	l.key(t, "b", readScope)
	keys := NewKeys(l.db.DB, discard())
	ids := map[string]int64{}
	listed, err := l.db.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range listed {
		ids[k.Name] = k.ID
	}
	used := func() *time.Time {
		t.Helper()
		keys.writeUses(t.Context())
		listed, err := l.db.Keys(t.Context())
		if err != nil || listed[1].LastUsedAt != nil {
			t.Fatalf("%+v, %v", listed, err)
		}
		return listed[0].LastUsedAt
	}
	at := noon.Truncate(time.Microsecond)
	if used() != nil {
		t.Error("used before it was")
	}
	keys.touch(ids["a"], at)
	keys.touch(ids["a"], at.Add(keyUseEvery-time.Second)) // too soon to be noted again
	if got := used(); got == nil || !got.Equal(at) {
		t.Errorf("%v, want %v", got, at)
	}
	keys.touch(ids["a"], at.Add(keyUseEvery))
	if got := used(); got == nil || !got.Equal(at.Add(keyUseEvery)) {
		t.Errorf("%v, want %v", got, at.Add(keyUseEvery))
	}
}
