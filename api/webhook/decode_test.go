package webhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rapport"
)

// receipt is when the deliveries of the tests arrive, to the nanosecond.
var receipt = time.Date(2026, time.September, 28, 15, 0, 0, 123456789, time.UTC)

func ptr[T any](v T) *T { return &v }

// at is a time of an event, in the RFC 3339 text of it.
func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func mustDecode(t *testing.T, body string) rapport.Event {
	t.Helper()
	e, err := Decode([]byte(body), receipt, time.Time{})
	if err != nil {
		t.Fatalf("Decode(%.200s): %v", body, err)
	}
	return e
}

func mustRefuse(t *testing.T, body string) string {
	t.Helper()
	e, err := Decode([]byte(body), receipt, time.Time{})
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		t.Fatalf("Decode(%.200s) = %v, %v; want a *Refusal", body, e.Type, err)
	}
	return refusal.Reason
}

func TestDecodeEveryShape(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]struct {
		body string
		want rapport.Event
	}{
		"a join in snake case": {
			`{"agent_id":"A80HVD8577","event_type":"room.join",
			  "data":{"room_name":"room-A80HVD8577-qtrJ-cOFR","participant_count":3,
			          "session_id":"8d947f06-2c36-4d98-aafe-b232da2433ff"},
			  "timestamp":1790607253.5575945}`,
			rapport.Event{
				Type: rapport.RoomJoin, AgentID: "A80HVD8577", SessionID: "8d947f06-2c36-4d98-aafe-b232da2433ff",
				OccurredAt: at("2026-09-28T14:54:13.557595Z"), RoomName: "room-A80HVD8577-qtrJ-cOFR", Participants: ptr(int32(3)),
			},
		},
		"a message in snake case": {
			`{"agent_id":"A80HVD8577","event_type":"chat.push",
			  "data":{"role":"assistant","message":"Hi, how can I help?","session_id":"8d947f06","timestamp":1790607268.8956978},
			  "timestamp":1790607268.895705}`,
			rapport.Event{
				Type: rapport.ChatPush, AgentID: "A80HVD8577", SessionID: "8d947f06",
				OccurredAt: at("2026-09-28T14:54:28.895698Z"), Role: "agent", Text: "Hi, how can I help?", MessageType: "text",
			},
		},
		"the first guide's join": {
			`{"agent_id":"agent_abc123","event_type":"room.join",
			  "data":{"room_name":"customer-support","participant_count":1,"session_id":"session_xyz789"},
			  "timestamp":1705312200.0}`,
			rapport.Event{
				Type: rapport.RoomJoin, AgentID: "agent_abc123", SessionID: "session_xyz789",
				OccurredAt: at("2024-01-15T09:50:00Z"), RoomName: "customer-support", Participants: ptr(int32(1)),
			},
		},
		"the first guide's message": {
			`{"agent_id":"agent_abc123","event_type":"chat.push",
			  "data":{"role":"user","message":"Hello, I need help with my order","session_id":"session_xyz789","timestamp":1705312285.0},
			  "timestamp":1705312285.0}`,
			rapport.Event{
				Type: rapport.ChatPush, AgentID: "agent_abc123", SessionID: "session_xyz789",
				OccurredAt: at("2024-01-15T09:51:25Z"), Role: "user", Text: "Hello, I need help with my order", MessageType: "text",
			},
		},
		"the guide's manual test of a join": {
			`{
    "agent_id": "test_agent",
    "event_type": "room.join",
    "data": {
      "room_name": "test-room",
      "participant_count": 1,
      "session_id": "session_123"
    },
    "timestamp": 1705312200.0
  }`,
			rapport.Event{
				Type: rapport.RoomJoin, AgentID: "test_agent", SessionID: "session_123",
				OccurredAt: at("2024-01-15T09:50:00Z"), RoomName: "test-room", Participants: ptr(int32(1)),
			},
		},
		"the guide's manual test of a message": {
			`{
    "agent_id": "test_agent",
    "event_type": "chat.push",
    "data": {
      "role": "user",
      "message": "Hello!",
      "session_id": "session_123",
      "timestamp": 1705312260.0
    },
    "timestamp": 1705312260.0
  }`,
			rapport.Event{
				Type: rapport.ChatPush, AgentID: "test_agent", SessionID: "session_123",
				OccurredAt: at("2024-01-15T09:51:00Z"), Role: "user", Text: "Hello!", MessageType: "text",
			},
		},
		"a join in camel case": {
			`{"event":"room_join","timestamp":"2024-01-15T10:30:00Z","agentId":"agent_1","sessionId":"session_1",
			  "user":{"id":"user_1","name":"Ann","ip":"192.0.2.1","userAgent":"Firefox","location":{"country":"IS","city":"Vik"}},
			  "room":{"name":"lobby","participants":1,"capacity":50},"metadata":{"referrer":"mail","campaign":"spring"}}`,
			rapport.Event{
				Type: rapport.RoomJoin, AgentID: "agent_1", SessionID: "session_1", UserID: "user_1",
				OccurredAt: at("2024-01-15T10:30:00Z"), RoomName: "lobby", Participants: ptr(int32(1)),
			},
		},
		"a message in camel case": {
			`{"event":"chat_push","timestamp":"2024-01-15T10:32:05.25+01:00","agentId":"agent_1","sessionId":"session_1",
			  "message":{"id":"msg_1","role":"user","content":"Where is it?","type":"audio","language":"en","confidence":0.95},
			  "user":{"id":"user_1","sessionDuration":125},
			  "conversation":{"messageCount":8,"userMessageCount":4,"averageResponseTime":1.2}}`,
			rapport.Event{
				Type: rapport.ChatPush, AgentID: "agent_1", SessionID: "session_1", UserID: "user_1",
				OccurredAt: at("2024-01-15T09:32:05.25Z"), Role: "user", Text: "Where is it?", MessageType: "audio", Language: "en",
			},
		},
		"an end in camel case": {
			`{"event":"session_end","timestamp":"2024-01-15T10:45:30Z","agentId":"agent_1","sessionId":"session_1","user":{"id":"user_1"},
			  "session":{"startedAt":"2024-01-15T10:30:00Z","duration":930,"messageCount":24,"endReason":"user_disconnect","userSatisfaction":4.5},
			  "metrics":{"totalCost":0.45}}`,
			rapport.Event{
				Type: rapport.SessionEnd, AgentID: "agent_1", SessionID: "session_1", UserID: "user_1",
				OccurredAt: at("2024-01-15T10:45:30Z"), EndReason: "user_disconnect", Rating: ptr(4.5),
			},
		},
		"an error in camel case": {
			`{"event":"agent_error","timestamp":"2024-01-15T10:31:00Z","agentId":"agent_1","sessionId":"session_1",
			  "error":{"code":"AUDIO_PROCESSING_FAILED","message":"no audio","severity":"high","category":"audio","retryable":true}}`,
			rapport.Event{
				Type: rapport.AgentError, AgentID: "agent_1", SessionID: "session_1", OccurredAt: at("2024-01-15T10:31:00Z"),
				ErrorCode: "AUDIO_PROCESSING_FAILED", ErrorSeverity: "high", ErrorCategory: "audio",
			},
		},
		"the camel case manual test, which has no session": {
			`{"event":"room_join","timestamp":"2024-01-15T10:30:00Z","agentId":"test_agent","user":{"id":"test_user"}}`,
			rapport.Event{
				Type: rapport.RoomJoin, AgentID: "test_agent", UserID: "test_user", OccurredAt: at("2024-01-15T10:30:00Z"),
			},
		},
		"an account event": {
			`{"id":"evt_1","event":"agent.ready","created":1780417371,"data":{"agent_id":"A80HVD8577","code":"A80HVD8577"}}`,
			rapport.Event{Type: "agent.ready", AgentID: "A80HVD8577", OccurredAt: at("2026-06-02T16:22:51Z")},
		},
		"a failed video": {
			`{"id":"evt_2","event":"video.failed","created":1780417371,"data":{"agent_id":"A1"}}`,
			rapport.Event{Type: "video.failed", AgentID: "A1", OccurredAt: at("2026-06-02T16:22:51Z")},
		},
		"an account's ping": {
			`{"id":"evt_3","event":"ping","created":1780417371,"data":{}}`,
			rapport.Event{Type: rapport.Ping, OccurredAt: at("2026-06-02T16:22:51Z")},
		},
		"a test with nothing else": {
			`{"event_type":"test"}`,
			rapport.Event{Type: rapport.Test, OccurredAt: at("2026-09-28T15:00:00.123456Z"), Undated: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := shape.want
			want.ReceivedAt = at("2026-09-28T15:00:00.123456Z")
			want.Payload = []byte(shape.body)
			got := mustDecode(t, shape.body)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(rapport.Event{}, "Fingerprint")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Each line of the table of places: what is read from a body.
func TestDecodePlaces(t *testing.T) {
	t.Parallel()
	type read = func(rapport.Event) any
	var (
		eventType    read = func(e rapport.Event) any { return e.Type }
		agentID      read = func(e rapport.Event) any { return e.AgentID }
		sessionID    read = func(e rapport.Event) any { return e.SessionID }
		userID       read = func(e rapport.Event) any { return e.UserID }
		role         read = func(e rapport.Event) any { return e.Role }
		text         read = func(e rapport.Event) any { return e.Text }
		messageType  read = func(e rapport.Event) any { return e.MessageType }
		language     read = func(e rapport.Event) any { return e.Language }
		roomName     read = func(e rapport.Event) any { return e.RoomName }
		errorCode    read = func(e rapport.Event) any { return e.ErrorCode }
		endReason    read = func(e rapport.Event) any { return e.EndReason }
		participants read = func(e rapport.Event) any {
			if e.Participants == nil {
				return nil
			}
			return int(*e.Participants)
		}
		rating read = func(e rapport.Event) any {
			if e.Rating == nil {
				return nil
			}
			return *e.Rating
		}
	)
	for _, rule := range []struct {
		promise string
		body    string
		read    read
		want    any
	}{
		{"event_type goes before event", `{"event_type":"a","event":"b","type":"c"}`, eventType, "a"},
		{"event goes before type", `{"event":"b","type":"c"}`, eventType, "b"},
		{"type is the last place of a type", `{"type":"c"}`, eventType, "c"},
		{"an empty type falls through", `{"event_type":"","event":"b"}`, eventType, "b"},
		{"a type that is no string falls through", `{"event_type":7,"event":null,"type":"c"}`, eventType, "c"},
		{"room_join is room.join", `{"type":"room_join"}`, eventType, "room.join"},
		{"chat_push is chat.push", `{"type":"chat_push"}`, eventType, "chat.push"},
		{"session_end is session.end", `{"type":"session_end"}`, eventType, "session.end"},
		{"agent_error is agent.error", `{"type":"agent_error"}`, eventType, "agent.error"},
		{"another type keeps its underscores", `{"type":"video_render_done"}`, eventType, "video_render_done"},
		{"another type keeps its case", `{"type":"Room_Join"}`, eventType, "Room_Join"},
		{"the last of two equal keys counts", `{"type":"a","type":"b"}`, eventType, "b"},
		{"keys match exactly", `{"Type":"a","TYPE":"b","type":"c"}`, eventType, "c"},

		{"agent_id goes first", `{"type":"x","agent_id":"a","agentId":"b","agent_code":"c","data":{"agent_id":"d"}}`, agentID, "a"},
		{"agentId goes second", `{"type":"x","agentId":"b","agent_code":"c","data":{"agent_id":"d"}}`, agentID, "b"},
		{"agent_code goes third", `{"type":"x","agent_code":"c","data":{"agent_id":"d"}}`, agentID, "c"},
		{"data.agent_id goes fourth", `{"type":"x","data":{"agent_id":"d"}}`, agentID, "d"},
		{"an id that is a number is absent", `{"type":"x","agent_id":5,"agent_code":"c"}`, agentID, "c"},
		{"an absent id is empty", `{"type":"x"}`, agentID, ""},

		{"data.session_id goes first", `{"type":"x","data":{"session_id":"a"},"session_id":"b","sessionId":"c"}`, sessionID, "a"},
		{"session_id goes second", `{"type":"x","data":{"session_id":""},"session_id":"b","sessionId":"c"}`, sessionID, "b"},
		{"sessionId goes third", `{"type":"x","sessionId":"c"}`, sessionID, "c"},
		{"data that is no object holds nothing", `{"type":"x","data":[{"session_id":"a"}],"sessionId":"c"}`, sessionID, "c"},

		{"user.id goes first", `{"type":"x","user":{"id":"a"},"data":{"user_id":"b"}}`, userID, "a"},
		{"data.user_id goes second", `{"type":"x","user":{"id":1},"data":{"user_id":"b"}}`, userID, "b"},
		{"a user that is a text has no id", `{"type":"x","user":"a"}`, userID, ""},

		{"data.role goes first", `{"type":"x","data":{"role":"user"},"message":{"role":"agent"}}`, role, "user"},
		{"message.role goes second", `{"type":"x","message":{"role":"user"}}`, role, "user"},
		{"an assistant is the agent", `{"type":"x","data":{"role":"assistant"}}`, role, "agent"},
		{"a bot is the agent", `{"type":"x","data":{"role":"Bot"}}`, role, "agent"},
		{"an avatar is the agent", `{"type":"x","data":{"role":"AVATAR"}}`, role, "agent"},
		{"an agent is the agent", `{"type":"x","data":{"role":"Agent"}}`, role, "agent"},
		{"another role is kept, in lower case", `{"type":"x","data":{"role":"SuperVisor"}}`, role, "supervisor"},

		{"data.message goes first", `{"type":"x","data":{"message":"a","content":"d"},"message":"b"}`, text, "a"},
		{"message as a string goes second", `{"type":"x","data":{"content":"d"},"message":"b"}`, text, "b"},
		{"message.content goes third", `{"type":"x","data":{"content":"d"},"message":{"content":"c"}}`, text, "c"},
		{"data.content goes fourth", `{"type":"x","data":{"content":"d"},"message":{}}`, text, "d"},
		{"a text of spaces is a text", `{"type":"x","data":{"message":" "}}`, text, " "},

		{"message.type is the message type", `{"type":"chat.push","message":{"type":"image"}}`, messageType, "image"},
		{"a chat.push without a message type is text", `{"type":"chat.push"}`, messageType, "text"},
		{"a chat_push without a message type is text", `{"type":"chat_push","message":{"type":0}}`, messageType, "text"},
		{"another event has no message type", `{"type":"room.join"}`, messageType, ""},
		{"message.language is the language", `{"type":"x","message":{"language":"is"}}`, language, "is"},

		{"data.room_name goes first", `{"type":"x","data":{"room_name":"a"},"room":{"name":"b"}}`, roomName, "a"},
		{"room.name goes second", `{"type":"x","room":{"name":"b"}}`, roomName, "b"},
		{"an error that is a text has no code", `{"type":"x","error":"E1"}`, errorCode, ""},
		{"session.endReason is the end's reason", `{"type":"x","session":{"endReason":"timeout"}}`, endReason, "timeout"},

		{"data.participant_count goes first", `{"type":"x","data":{"participant_count":1},"room":{"participants":2}}`, participants, 1},
		{"room.participants goes second", `{"type":"x","data":{"participant_count":"many"},"room":{"participants":2}}`, participants, 2},
		{"a count may be a string", `{"type":"x","data":{"participant_count":"3"}}`, participants, 3},
		{"3.0 is 3", `{"type":"x","data":{"participant_count":3.0}}`, participants, 3},
		{"3e0 is 3", `{"type":"x","data":{"participant_count":3e0}}`, participants, 3},
		{"0.03e2 is 3", `{"type":"x","data":{"participant_count":0.03e2}}`, participants, 3},
		{"no participants are 0", `{"type":"x","data":{"participant_count":0}}`, participants, 0},
		{"-0 is 0", `{"type":"x","data":{"participant_count":-0}}`, participants, 0},
		{"the greatest count is an int32's", `{"type":"x","data":{"participant_count":2147483647}}`, participants, 2147483647},
		{"a count beyond it is absent", `{"type":"x","data":{"participant_count":2147483648}}`, participants, nil},
		{"an endless count is absent", `{"type":"x","data":{"participant_count":1e999999999}}`, participants, nil},
		{"a count below 0 is absent", `{"type":"x","data":{"participant_count":-1}}`, participants, nil},
		{"half a participant is absent", `{"type":"x","data":{"participant_count":2.5}}`, participants, nil},
		{"a trace of a participant is absent", `{"type":"x","data":{"participant_count":3.` + strings.Repeat("0", 50) + `1}}`, participants, nil},
		{"a count with a space is absent", `{"type":"x","data":{"participant_count":" 3"}}`, participants, nil},

		{"a rating may be a string", `{"type":"x","session":{"userSatisfaction":"4.5"}}`, rating, 4.5},
		{"a rating may be below 0", `{"type":"x","session":{"userSatisfaction":-1}}`, rating, -1.0},
		{"a rating of no number is absent", `{"type":"x","session":{"userSatisfaction":"good"}}`, rating, nil},
		{"a rating beyond a float is absent", `{"type":"x","session":{"userSatisfaction":1e999}}`, rating, nil},
		{"a rating that only Go reads is absent", `{"type":"x","session":{"userSatisfaction":"0x1p2"}}`, rating, nil},
		{"infinity is no rating", `{"type":"x","session":{"userSatisfaction":"Infinity"}}`, rating, nil},

		{"U+0000 becomes U+FFFD", `{"type":"x","data":{"message":"a\u0000b"}}`, text, "a\uFFFDb"},
		{"a lone surrogate becomes U+FFFD", `{"type":"x","data":{"message":"a\ud800b"}}`, text, "a\uFFFDb"},
		{"a pair of surrogates is its character", `{"type":"x","data":{"message":"\ud83d\ude00"}}`, text, "😀"},
		{"a byte that is not UTF-8 becomes U+FFFD", "{\"type\":\"x\",\"data\":{\"message\":\"a\xffb\"}}", text, "a\uFFFDb"},
		{"U+0000 in a type becomes U+FFFD", `{"type":"x\u0000"}`, eventType, "x\uFFFD"},
		{"U+0000 in an id becomes U+FFFD", `{"type":"x","sessionId":"\u0000"}`, sessionID, "\uFFFD"},
	} {
		t.Run(rule.promise, func(t *testing.T) {
			t.Parallel()
			if got := rule.read(mustDecode(t, rule.body)); got != rule.want {
				t.Errorf("%s\ngot  %#v\nwant %#v", rule.body, got, rule.want)
			}
		})
	}
}

func TestDecodeKeepsTheBodyVerbatim(t *testing.T) {
	t.Parallel()
	body := "{ \"type\":\"x\", \"unknown\":{\"deep\":[1.50,\"\xff\\u0000\"]},\"n\":1705312200.0 }\n"
	if e := mustDecode(t, body); string(e.Payload) != body {
		t.Errorf("Payload = %q, want %q", e.Payload, body)
	}
}

func TestDecodeTakesALongText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1<<19)
	if e := mustDecode(t, `{"type":"chat.push","message":"`+long+`"}`); e.Text != long {
		t.Errorf("Text has %d bytes, want %d", len(e.Text), len(long))
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]struct {
		body   string
		reason string // a part of it
	}{
		"an empty body":               {"", "is empty"},
		"a body of spaces":            {" \r\n\t", "is empty"},
		"a form":                      {"event_type=test", "not JSON"},
		"a text cut off":              {`{"event_type":"te`, "ends too early"},
		"data after the object":       {`{"event_type":"test"} {}`, "data after"},
		"a brace too many":            {`{"event_type":"test"}}`, "data after"},
		"U+0000 after the object":     {"{\"event_type\":\"test\"}\x00", "data after"},
		"a byte order mark":           {"\xef\xbb\xbf" + `{"event_type":"test"}`, "not JSON"},
		"a raw newline in a text":     {"{\"event_type\":\"te\nst\"}", "not JSON"},
		"a raw U+0000 in a text":      {"{\"event_type\":\"te\x00st\"}", "not JSON"},
		"an unknown escape":           {`{"event_type":"te\xst"}`, "not JSON"},
		"a comma too many":            {`{"event_type":"test",}`, "not JSON"},
		"a leading zero":              {`{"event_type":"test","n":01}`, "not JSON"},
		"NaN":                         {`{"event_type":"test","n":NaN}`, "not JSON"},
		"a comment":                   {`{"event_type":"test"/**/}`, "not JSON"},
		"UTF-16":                      {"{\x00\"\x00t\x00", "not JSON"},
		"an array":                    {`[{"event_type":"test"}]`, "not an object"},
		"a text":                      {`"test"`, "not an object"},
		"null":                        {`null`, "not an object"},
		"no type":                     {`{"agent_id":"a"}`, "no type"},
		"an empty type":               {`{"event_type":"","event":"","type":""}`, "no type"},
		"a type that is no text":      {`{"event_type":1,"event":["a"],"type":{"a":1}}`, "no type"},
		"a long agent_id":             {`{"type":"x","agentId":"` + strings.Repeat("a", 513) + `"}`, "agent_id"},
		"a long session_id":           {`{"type":"x","sessionId":"` + strings.Repeat("a", 513) + `"}`, "session_id"},
		"a long user_id":              {`{"type":"x","user":{"id":"` + strings.Repeat("a", 513) + `"}}`, "user_id"},
		"an id of 10 kB":              {`{"type":"x","sessionId":"` + strings.Repeat("a", 10_000) + `"}`, "10000 bytes"},
		"an id long in bytes":         {`{"type":"x","sessionId":"` + strings.Repeat("é", 257) + `"}`, "514 bytes"},
		"an id that cleaning expands": {`{"type":"x","sessionId":"` + strings.Repeat(`\u0000`, 171) + `"}`, "513 bytes"},
		"101 objects in each other":   {`{"type":"x","a":` + strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat("}", 101), "deeper than 100"},
		"101 arrays in each other":    {`{"type":"x","a":` + strings.Repeat(`[`, 100) + strings.Repeat("]", 100) + `}`, "deeper than 100"},
		"a nesting of a megabyte":     {`{"type":"x","a":` + strings.Repeat(`[`, 1<<20), "deeper than 100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reason := mustRefuse(t, bad.body)
			if !strings.Contains(reason, bad.reason) {
				t.Errorf("the reason %q does not say %q", reason, bad.reason)
			}
		})
	}
}

func TestDecodeAcceptsWhatIsJustWithinBounds(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"an id of 512 bytes":              `{"type":"x","sessionId":"` + strings.Repeat("a", 512) + `"}`,
		"100 objects in each other":       `{"type":"x","a":` + strings.Repeat(`{"a":`, 99) + `1` + strings.Repeat("}", 100),
		"100 in each other, one beside":   `{"type":"x","b":[],"a":` + strings.Repeat(`{"a":`, 99) + `1` + strings.Repeat("}", 100),
		"101 objects beside each other":   `{"type":"x","a":[{}` + strings.Repeat(`,{}`, 100) + `]}`,
		"101 braces in a text":            `{"type":"x","a":"` + strings.Repeat(`{[`, 101) + `"}`,
		"101 braces after an escaped end": `{"type":"x","a":"\"` + strings.Repeat(`{`, 101) + `\\"}`,
		"spaces around":                   " \r\n\t{\"type\":\"x\"}\n ",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mustDecode(t, body)
		})
	}
}

func TestARefusalRepeatsLittleOfItsDelivery(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", 1<<20)
	for name, body := range map[string]string{
		"a long number":         `{"type":"x","timestamp":` + long + `}`,
		"a long numeric string": `{"type":"x","timestamp":"` + long + `"}`,
		"a long id":             `{"type":"x","agent_id":"` + long + `"}`,
		"a long word":           strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reason := mustRefuse(t, body)
			if len(reason) > 250 || strings.Contains(reason, strings.Repeat("9", 81)) {
				t.Errorf("a reason of %d bytes: %.300s", len(reason), reason)
			}
		})
	}
}

func TestExcerptCutsBetweenCharacters(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "short", strings.Repeat("é", 33), "a" + strings.Repeat("é", 40), strings.Repeat("😀", 40)} {
		if got := excerpt(s); !utf8.ValidString(got) || strings.Contains(got, `\x`) {
			t.Errorf("excerpt(%q) = %s", s, got)
		}
	}
}

// checkInvariants fails unless an accepted event is one that the log can hold.
func checkInvariants(t *testing.T, e *rapport.Event, body []byte, newest time.Time) {
	t.Helper()
	for _, text := range []string{
		e.Type, e.AgentID, e.SessionID, e.UserID, e.Role, e.Text, e.MessageType,
		e.Language, e.RoomName, e.ErrorCode, e.ErrorSeverity, e.ErrorCategory, e.EndReason,
	} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			t.Errorf("%q is not clean", text)
		}
	}
	if e.Type == "" || max(len(e.AgentID), len(e.SessionID), len(e.UserID)) > rapport.MaxIDBytes {
		t.Errorf("type %q, agent_id %q, session_id %q, user_id %q", e.Type, e.AgentID, e.SessionID, e.UserID)
	}
	if e.OccurredAt.Location() != time.UTC || !e.OccurredAt.Equal(e.OccurredAt.Truncate(time.Microsecond)) {
		t.Errorf("OccurredAt %v is not whole microseconds in UTC", e.OccurredAt)
	}
	latest := later(e.ReceivedAt, newest).Add(24 * time.Hour)
	if !e.Undated && (e.OccurredAt.Before(at("2015-01-01T00:00:00Z")) || e.OccurredAt.After(latest)) {
		t.Errorf("OccurredAt %v is impossible", e.OccurredAt)
	}
	if e.Undated && !e.OccurredAt.Equal(e.ReceivedAt) {
		t.Errorf("undated, but OccurredAt %v is not ReceivedAt %v", e.OccurredAt, e.ReceivedAt)
	}
	if !json.Valid(body) || string(e.Payload) != string(body) {
		t.Errorf("payload %q of body %q", e.Payload, body)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"agent_id":"a","event_type":"room.join","data":{"room_name":"r","participant_count":3,"session_id":"s"},"timestamp":1790607253.5575945}`,
		`{"event_type":"chat.push","data":{"role":"assistant","message":"\ud800\u0000","session_id":"s","timestamp":"1790607268895"}}`,
		`{"event":"chat_push","timestamp":"2024-01-15t10:30:00.5+01:00","agentId":"a","sessionId":"s","message":{"id":"m","role":"user","content":"c","type":"audio","language":"en"},"user":{"id":"u"}}`,
		`{"event":"session_end","session":{"endReason":"timeout","userSatisfaction":"4.5"},"timestamp":"2016-12-31T23:59:60Z"}`,
		`{"event":"agent_error","error":{"code":"E","severity":"high","category":"llm"},"timestamp":1.7e9}`,
		`{"id":"evt_1","event":"agent.ready","created":1780417371,"data":{"agent_id":"a"}}`,
		`{"type":"x","timestamp":1e999999999}`,
		"{\"type\":\"room.join\",\"agent_id\":\"\xff\"}",
		`[[[[{"a":"]"}]]]]`,
	} {
		f.Add([]byte(seed), int64(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, ahead int64) {
		newest := receipt.Add(time.Duration(ahead))
		e, err := Decode(body, receipt, newest)
		again, errAgain := Decode(body, receipt, newest)
		if diff := cmp.Diff(e, again); diff != "" || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Fatalf("decoded twice (%v, %v):\n%s", err, errAgain, diff)
		}
		if err == nil {
			checkInvariants(t, &e, body, newest)
			return
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Reason == "" || len(refusal.Reason) > 600 ||
			rapport.CleanText(refusal.Reason) != refusal.Reason {
			t.Fatalf("error %T %q", err, err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	body := []byte(`{"agent_id":"A80HVD8577","event_type":"chat.push","data":{"role":"assistant",` +
		`"message":"You can pick the parcel up at the counter from ten o'clock on; bring the number that we sent you.",` +
		`"session_id":"8d947f06-2c36-4d98-aafe-b232da2433ff","timestamp":1790607268.8956978},"timestamp":1790607268.895705}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(body, receipt, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}
