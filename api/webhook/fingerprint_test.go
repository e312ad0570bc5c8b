package webhook

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"rapport"
)

func fingerprint(t *testing.T, body string) rapport.Fingerprint {
	t.Helper()
	return mustDecode(t, body).Fingerprint
}

// message is a chat.push with every ingredient of a fingerprint.
const message = `{"event_type":"chat.push","agent_id":"a","id":"i","timestamp":1705312285.0,"created":1705312286,` +
	`"message":{"id":"m","role":"user"},` +
	`"data":{"session_id":"s","message":"Hello!","timestamp":"1705312284"},` +
	`"user":{"id":"u"}}`

// A changed fingerprint makes strangers of the twins in every stored log. If
// this fails, the algorithm needs a new version, not the test a new sum.
func TestTheFingerprintIsFixed(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		message:                         "176fe0812b20de86397ff522d580af0f5395ada75d5bdd0a4796f9f1936ee8de",
		`{"event_type":"test","n":1.0}`: "41da219fc465d395b3f12920d8cd3ad277bfccf303f18713fbe69f1adad084e2",
		`{"type":"chat_push","message":"\ud800"}`: "e7c0b380f15386927b72f64898a34fd4efb0ac379909f5c8fc34ba5039dfd92a",
	} {
		f := fingerprint(t, body)
		if got := hex.EncodeToString(f[:]); got != want {
			t.Errorf("the fingerprint of %s is %s, want %s", body, got, want)
		}
	}
}

func TestTheSameEvent(t *testing.T) {
	t.Parallel()
	for _, same := range []struct{ promise, a, b string }{
		{"a retry is the same event", message, message},
		{"a retry without a time is the same event", `{"type":"chat.push","message":"yes"}`, `{"type":"chat.push","message":"yes"}`},
		{"spaces make no other event", message, strings.ReplaceAll(message, ",", " ,\n")},
		{"the legacy name of a type makes no other event", message, strings.Replace(message, "chat.push", "chat_push", 1)},
		{"the old name of a role makes no other event",
			strings.Replace(message, `"role":"user"`, `"role":"assistant"`, 1),
			strings.Replace(message, `"role":"user"`, `"role":"Agent"`, 1)},
		{"an escape makes no other event", message, strings.Replace(message, "Hello", `\u0048ello`, 1)},
		{"unknown fields make no other event", message, strings.Replace(message, `"user":{`, `"attempt":2,"user":{`, 1)},
		{"the visitor's id makes no other event", message, strings.Replace(message, `"u"`, `"v"`, 1)},
		{"where an id stands makes no other event",
			`{"type":"room.join","agent_id":"a","timestamp":1705312285}`,
			`{"type":"room.join","agentId":"a","timestamp":1705312285}`},
		{"another type's retry is the same event", `{"type":"ping"}`, `{"type":"ping"}`},
	} {
		t.Run(same.promise, func(t *testing.T) {
			t.Parallel()
			if fingerprint(t, same.a) != fingerprint(t, same.b) {
				t.Errorf("two events:\n%s\n%s", same.a, same.b)
			}
		})
	}
	t.Run("the time of receipt makes no other event", func(t *testing.T) {
		t.Parallel()
		body := []byte(`{"type":"chat.push","message":"yes"}`)
		first, err := Decode(body, receipt, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := Decode(body, receipt.Add(time.Hour), receipt)
		if err != nil {
			t.Fatal(err)
		}
		if first.Fingerprint != second.Fingerprint {
			t.Error("two events")
		}
	})
}

func TestAnotherEvent(t *testing.T) {
	t.Parallel()
	for _, other := range []struct{ ingredient, old, new string }{
		{"type", `chat.push`, `room.join`},
		{"agent_id", `"agent_id":"a"`, `"agent_id":"b"`},
		{"session_id", `"session_id":"s"`, `"session_id":"r"`},
		{"role", `"role":"user"`, `"role":"agent"`},
		{"text", `Hello!`, `Hello?`},
		{"id", `"id":"i"`, `"id":"j"`},
		{"message.id", `"id":"m"`, `"id":"n"`},
		{"message.id as a number", `"id":"m"`, `"id":5`},
		{"data.timestamp", `"1705312284"`, `"1705312283"`},
		{"data.timestamp as a number", `"1705312284"`, `1705312284`},
		{"data.timestamp written otherwise", `"1705312284"`, `"1705312284.0"`},
		{"timestamp", `1705312285.0`, `1705312285.1`},
		{"timestamp written otherwise", `1705312285.0`, `1705312285`},
		{"created", `1705312286`, `1705312287`},
		{"a field absent", `"created":1705312286,`, ``},
		{"U+0000 in a text", `Hello!`, `Hello!\u0000`},
	} {
		t.Run(other.ingredient, func(t *testing.T) {
			t.Parallel()
			changed := strings.Replace(message, other.old, other.new, 1)
			if changed == message {
				t.Fatalf("%s is not in the message", other.old)
			}
			if fingerprint(t, changed) == fingerprint(t, message) {
				t.Errorf("one event:\n%s\n%s", message, changed)
			}
		})
	}
	for _, other := range []struct{ promise, a, b string }{
		{"what stands in one field can't be in its neighbour",
			`{"type":"room.join","agent_id":"ab","session_id":"c"}`,
			`{"type":"room.join","agent_id":"a","session_id":"bc"}`},
		{"an id that is a number is not that text",
			`{"type":"room.join","id":"5"}`, `{"type":"room.join","id":5}`},
		{"two texts that can't be read are two events",
			"{\"type\":\"chat.push\",\"message\":\"\xff\"}", "{\"type\":\"chat.push\",\"message\":\"\xfe\"}"},
		{"two lone surrogates are two events",
			`{"type":"chat.push","message":"\ud800"}`, `{"type":"chat.push","message":"\ud801"}`},
		{"two ids that can't be read are two events",
			`{"type":"chat.push","id":"\ud800"}`, `{"type":"chat.push","id":"\ud801"}`},
		{"U+0000 is not U+FFFD",
			`{"type":"chat.push","message":"\u0000"}`, `{"type":"chat.push","message":"\ufffd"}`},
		{"of another type, a space makes another event", `{"type":"ping"}`, `{"type": "ping"}`},
		{"of another type, any field makes another event", `{"type":"ping","n":1}`, `{"type":"ping","n":2}`},
	} {
		t.Run(other.promise, func(t *testing.T) {
			t.Parallel()
			if fingerprint(t, other.a) == fingerprint(t, other.b) {
				t.Errorf("one event:\n%s\n%s", other.a, other.b)
			}
		})
	}
}
