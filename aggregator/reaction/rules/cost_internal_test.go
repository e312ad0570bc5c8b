package rules

import (
	"strings"
	"testing"
)

func TestOnlyWhatMayCostTooMuchIsWatched(t *testing.T) {
	t.Parallel()
	env, err := eventEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		`event.text.contains("x") && event.agent_id == "a"`:                       false,
		`session.rating < 3.0`:                                                    false,
		`event.text.hasWord(["angry", "awful"]) || sentiment(event.text) <= -0.5`: false,
		`size(event.text) >= 10 && (similarity(event.text, event.said_in_session) >= 0.6 || similarity(event.text, event.said_by_user) >= 0.6)`: false,
		`event.said_in_session.exists(x, event.said_by_user.exists(y, x.contains(y)))`:                                                          true,
		`event.payload.list.exists(x, x == 1)`:                        true,
		strings.Repeat(`event.text.matches("a*b*") && `, 20) + "true": true,
	} {
		ast, issues := env.Compile(text)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		if got := mayCostTooMuch(env, ast); got != want {
			t.Errorf("%s: watched is %v", text, got)
		}
	}
}
