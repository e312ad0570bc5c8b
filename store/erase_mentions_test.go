package store

import "testing"

func TestMentions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		id, text string
		want     bool
	}{
		{"abc-1", `{"session_id":"abc-1"`, true},
		{"abc-1", `abc-1`, true},
		{"abc-1", `{"session_id":"abc-10"}`, false},
		{"abc-1", `{"session_id":"xabc-1"}`, false},
		{"abc-1", `"said:\nabc-1 and more"`, true},
		{"nabc", `"said:\nabc"`, true}, // nobody knows: rather one too many
		{"Zoë", `{"user":"Zo\u00eb"}`, true},
		{"Zoë", `{"user":"Zo\u00EB"}`, true},
		{"Zoë", `{"user":"Zoë"}`, true},
		{"a/b", `{"user":"a\/b"}`, true},
		{"a/b", `{"user":"a/b"}`, true},
		{"a/b", `{"user":"a/bc"}`, false},
		{`say "x"`, `{"user":"say \"x\""}`, true},
		{"a<b", `{"user":"a\u003cb"}`, true},
		{"a b", "a\tb", false},
		{"abc-1", `{"user":"abc\u002d1"}`, true},
		{"Zoë \u2028\"x\"", "{\"user\":\"Zo\\u00eb \u2028\\\"x\\\"\"", true}, // some escaped, some not
		{"\U0001f98a fox", `"\ud83e\udd8a fox"`, true},
		{"abc-1", `\u0061bc-10 \u00 \ud83e\u00`, false},
		{"abc", `\`, false},
		{"abc", "", false},
	} {
		m := mentionsOf([]string{"another", test.id})
		if got := m.in([]byte(test.text)); got != test.want {
			t.Errorf("%q in %q: %v, want %v", test.id, test.text, got, test.want)
		}
	}
}
