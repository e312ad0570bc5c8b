package api

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestReadingOnesOwnWrites(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{})
	l.deliver(t, said("a", "s", "user", "hi", 0))
	post(l, "no event")
	for _, path := range []string{"/sessions", "/sessions/s", "/sessions/s/messages", "/sessions/s/events", "/quarantine"} {
		t.Run(path, func(t *testing.T) {
			if w := get(l, path+"?min_position=1&wait=0s"); w.Code != http.StatusOK {
				t.Errorf("what is folded is answered at once: %d %s", w.Code, w.Body)
			}
			w := get(l, path+"?min_position=2&wait=1ms")
			p := wantProblem(t, w, http.StatusServiceUnavailable)
			if w.Header().Get("Retry-After") != "1" || !strings.Contains(p["detail"].(string), "min_position") {
				t.Errorf("%v %v", w.Header(), p)
			}
		})
	}
	t.Run("a read waits for the rollups", func(t *testing.T) {
		answered := make(chan int, 1)
		go func() { answered <- get(l, "/sessions?min_position=2&wait=50s").Code }()
		l.deliver(t, said("a", "s2", "user", "hi", 1))
		select {
		case status := <-answered:
			if status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		case <-time.After(20 * time.Second):
			t.Error("it waits on")
		}
	})
}
