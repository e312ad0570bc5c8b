package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestErasingASession(t *testing.T) {
	t.Parallel()
	l := newLive(t, Config{APIToken: "s3cret"})
	const secret = "Xylophone"
	l.deliver(t, said("A", "s1", "user", secret, 1), said("A", "s1", "agent", secret, 2), said("B", "s1", "user", secret, 3), said("A", "s2", "user", "Hi", 4))
	key := bearerOf("s3cret")
	erase := func(t *testing.T, path string) (int, map[string]any) {
		t.Helper()
		w := send(l, newRequest(http.MethodDelete, path, nil, key...))
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		return w.Code, body
	}
	if code, body := erase(t, "/sessions/s1?agent_id=A&reason=asked"); code != http.StatusOK || body["events"] != 2.0 || body["conversations"] != 1.0 || body["erasure"] == nil {
		t.Errorf("%d %v", code, body)
	}
	if code, body := erase(t, "/sessions/s1"); code != http.StatusOK || body["events"] != 1.0 {
		t.Errorf("%d %v", code, body)
	}
	t.Run("repeated, it finds nothing", func(t *testing.T) {
		if code, body := erase(t, "/sessions/s1"); code != http.StatusOK || body["events"] != 0.0 || body["erasure"] != nil {
			t.Errorf("%d %v", code, body)
		}
	})
	t.Run("404 for what is unknown", func(t *testing.T) {
		if code, body := erase(t, "/sessions/nobody"); code != http.StatusNotFound {
			t.Errorf("%d %v", code, body)
		}
	})
	t.Run("no answer has the text", func(t *testing.T) {
		for _, path := range []string{"/sessions", "/sessions/s1", "/sessions/s1/messages", "/sessions/s1/events", "/audit", "/quarantine", "/dead-letters", "/metrics"} {
			if body := get(l, path, key...).Body.String(); strings.Contains(body, secret) {
				t.Errorf("%s: %s", path, body)
			}
		}
		if body := get(l, "/sessions/s1", key...).Body.String(); !strings.Contains(body, `"erased_at":"2`) || !strings.Contains(body, `"message_count":2`) {
			t.Error(body)
		}
	})
	t.Run("a retry is answered, and let go", func(t *testing.T) {
		w := post(l, said("A", "s1", "user", secret, 1))
		if w.Code != http.StatusOK || w.Body.String() != `{"status":"success","erased":true}`+"\n" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
	t.Run("it is in the audit", func(t *testing.T) {
		body := get(l, "/audit?action=session.erase", key...).Body.String()
		if strings.Count(body, `"action":"session.erase","subject"`) != 3 || !strings.Contains(body, `"reason":"asked"`) {
			t.Error(body)
		}
	})
}
