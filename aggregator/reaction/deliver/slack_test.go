package deliver

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSlackIsToldInBlocks(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	plain, client := destinationAt(t, p.URL)
	plain.Kind, plain.Timeout = Slack, patience
	templated := plain
	templated.Render = func(json.RawMessage) ([]byte, error) {
		return []byte(`{"text":"hi","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"*hi*"}},{"type":"divider"}]}`), nil
	}
	send := func(d Destination, delivery Delivery) {
		if err := d.send(t.Context(), client, &delivery); err != nil {
			t.Error(err)
		}
	}
	data := `{"severity":"high","event":{"text":"<!channel> & co","n":12345678901234567890,"nothing":null,"list":["a"],"empty":""}}`
	send(plain, Delivery{ID: "x/1", Rule: "frustration <b>", Body: json.RawMessage(data)})
	want := `{"text":"frustration &lt;b&gt;","blocks":[
		{"type":"header","text":{"type":"plain_text","text":"frustration <b>","emoji":false}},
		{"type":"section","fields":[
			{"type":"plain_text","text":"event.list: [\"a\"]","emoji":false},
			{"type":"plain_text","text":"event.n: 12345678901234567890","emoji":false},
			{"type":"plain_text","text":"event.text: <!channel> & co","emoji":false},
			{"type":"plain_text","text":"severity: high","emoji":false}]},
		{"type":"context","elements":[{"type":"plain_text","text":"x/1","emoji":false}]}],
		"replace_original":false,"delete_original":false}`
	wantSame(t, want, p.next(t).body)
	send(templated, Delivery{ID: "x/2", Rule: "x", Body: json.RawMessage(data)})
	wantSame(t, `{"text":"hi","blocks":[{"type":"section","text":{"type":"mrkdwn","text":"*hi*"}},{"type":"divider"}]}`, p.next(t).body)
}

func wantSame(t *testing.T, want string, got []byte) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(want), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got, &b); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestSlackMessagesKeepToItsLimits(t *testing.T) {
	t.Parallel()
	many := make(map[string]string)
	for i := range 100 {
		many[fmt.Sprint("name", i)] = strings.Repeat("é", 5000)
	}
	data, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{string(data), `null`, `"text"`, `[]`, `12`, ``, `{`} {
		text, err := json.Marshal(plainMessage(&Delivery{ID: strings.Repeat("i", 200), Rule: strings.Repeat("r", 1000)}, []byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		var message struct {
			Blocks []struct {
				Type   string
				Text   *struct{ Text string }
				Fields []struct{ Text string }
			}
		}
		if err := json.Unmarshal(text, &message); err != nil || len(message.Blocks) < 2 || len(message.Blocks) > 50 {
			t.Fatalf("%.20s: %d blocks, %v", body, len(message.Blocks), err)
		}
		if n := len([]rune(message.Blocks[0].Text.Text)); n != maxSlackHeader {
			t.Errorf("%.20s: the heading has %d characters", body, n)
		}
		for _, block := range message.Blocks {
			if len(block.Fields) > maxSlackFields {
				t.Errorf("%.20s: %d fields", body, len(block.Fields))
			}
			for _, field := range block.Fields {
				if n := len([]rune(field.Text)); n > maxSlackField || n == 0 {
					t.Errorf("%.20s: a field of %d characters", body, n)
				}
			}
		}
	}
	if _, err := slackMessage(&Delivery{}, []byte(`{"blocks": 1}`), true); err == nil {
		t.Error("what is no message is taken for one")
	}
	if m := textMessage("hello <!here>"); m.Text != "hello &lt;!here&gt;" {
		t.Errorf("a text becomes %+v", m)
	}
}
