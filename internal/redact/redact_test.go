package redact_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"rapport/internal/redact"
)

func rules(t testing.TB, builtin []string, patterns ...string) *redact.Rules {
	t.Helper()
	r, err := redact.New(builtin, patterns)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestText(t *testing.T) {
	t.Parallel()
	all := rules(t, redact.BuiltIn)
	for text, want := range map[string]string{
		// e-mail addresses
		"write to Jo.Doe+x@mail.example.co.uk.": "write to [email].",
		"<jörg@bücher.example>, (a@b.de)":       "<[email]>, ([email])",
		"https://a.bc/?m=jo%40example.org&x":    "https://a.bc/?m=[email]&x",
		"jo＠example.org":                        "[email]",
		"a@b.cc@d.ee":                           "[email]@d.ee",
		"me@localhost, @handle, 5@3":            "me@localhost, @handle, 5@3",

		// phone numbers
		"+49 151 12345678":                                  "[phone]",
		"+49 (0)30 / 123 456-78 ok":                         "[phone] ok",
		"call (415) 555-2671 now":                           "call [phone] now",
		"1-415-555-2671, 415.555.2671":                      "[phone], [phone]",
		"+49 30 1234 5678, +30 21 2034 5678, 06 12 3456 78": "[phone], [phone], [phone]",
		"0044 20 7946 0958":                                 "[phone]",
		"030 1234567 or 0171/2345678":                       "[phone] or [phone]",
		"06 12 34 56 78":                                    "[phone]",
		"room 12, 020 7946 0958":                            "room 12, [phone]",
		"电话+8613812345678。":                                 "电话[phone]。",
		"٠١٠١٢٣٤٥٦٧٨":                                       "[phone]",

		// card and account numbers
		"4111 1111 1111 1111":                              "[card]",
		"4111-1111-1111-1111, 378282246310005.":            "[card], [card].",
		"卡号4111111111111111":                               "卡号[card]",
		"4111 1111 1111 1112":                              "4111 1111 1111 1112",
		"my card is 5555555555554444 since 2020":           "my card is [card] since 2020",
		"DE89 3704 0044 0532 0130 00 please":               "[iban] please",
		"be68 5390 0754 7034 bank, GB82WEST12345698765432": "[iban] bank, [iban]",

		// what looks like it, and is not
		"1790607268.8956978 1705312200000 1705312200":              "1790607268.8956978 1705312200000 1705312200",
		"2024-01-15T10:30:00.123456+01:00":                         "2024-01-15T10:30:00.123456+01:00",
		"01.02.2024 10:30 or 01/02/2024 12":                        "01.02.2024 10:30 or 01/02/2024 12",
		"06 05 2024 10 30, ISBN 0-306-40615-2, invoice 0012345678": "06 05 2024 10 30, ISBN 0-306-40615-2, invoice 0012345678",
		"8d947f06-2c36-4d98-aafe-012345678901":                     "8d947f06-2c36-4d98-aafe-012345678901",
		"11111111-0222-4333-8444-012345678901":                     "11111111-0222-4333-8444-012345678901",
		"order 123456789, #0123456789, A0123456789":                "order 123456789, #0123456789, A0123456789",
		"192.168.100.200:8080, 0.12345678901, 100.000":             "192.168.100.200:8080, 0.12345678901, 100.000",
		"[email] [phone] []":                                       "[email] [phone] []",
		"":                                                         "",
	} {
		if got := all.Text(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	t.Run("come before the built-in rules, in their order", func(t *testing.T) {
		t.Parallel()
		r := rules(t, []string{"email"}, `staff=[a-z]+@example\.com`, `ticket=T-\d+`)
		if got, want := r.Text("jo@example.com jo@example.org T-12"), "[staff] [email] [ticket]"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("may hold anything behind the first =", func(t *testing.T) {
		t.Parallel()
		if got := rules(t, nil, "a=b=,").Text("b=,"); got != "[a]" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("do not mask what is masked", func(t *testing.T) {
		t.Parallel()
		r := rules(t, []string{"email"}, `word=\w+`)
		once := r.Text("say a@b.cc [email]")
		if once != "[word] [word][email][word][email][word] [email]" || r.Text(once) != once {
			t.Errorf("got %q, then %q", once, r.Text(once))
		}
	})
	for definition, fault := range map[string]string{
		"x":          "NAME=REGEXP",
		"=x":         "can't be named",
		"email=x":    "can't be named",
		"a b=x":      "can't be named",
		"a=(":        "no RE2 expression",
		`a=(?=look)`: "no RE2 expression",
		"a=x*":       "matches the empty text",
	} {
		if _, err := redact.New(nil, []string{definition}); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%q: %v, want an error with %q", definition, err, fault)
		}
	}
	if _, err := redact.New([]string{"name"}, nil); err == nil || !strings.Contains(err.Error(), "email, iban, card, phone") {
		t.Errorf("a rule that does not exist: %v", err)
	}
}

func TestNoRulesMaskNothing(t *testing.T) {
	t.Parallel()
	none := rules(t, nil)
	body := []byte(`{"message":"a@b.cc"}`)
	if got := none.Body(body); &got[0] != &body[0] || none.Text("a@b.cc") != "a@b.cc" || none.Names() != nil {
		t.Errorf("got %q", got)
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	all := rules(t, redact.BuiltIn, `word=message|data|chat`)
	for _, tt := range []struct{ name, body, want string }{
		{"keeps every other byte",
			"{ \"data\" : {\"message\":\"\\u00e9 a@b.cc \\/ \\ud83d\\ude00\",\"n\":1705312200.0}, \"x\":[1.0,\"ü\"] }\n",
			"{ \"data\" : {\"message\":\"\\u00e9 [email] \\/ \\ud83d\\ude00\",\"n\":1705312200.0}, \"x\":[1.0,\"ü\"] }\n"},
		{"reads escapes",
			`{"message":"a\u0040b\u002Ecc","x":"\u002b49 151\t1234\u0035678\u0020!","data":{"y":"\/\\a@b.cc\""}}`,
			`{"message":"[email]","x":"[phone]\u0020!","data":{"y":"\/\\[email]\""}}`},
		{"keeps types, ids, roles and times",
			`{"event_type":"chat","agent_id":"a@b.cc","timestamp":"0301234567","created":"a@b.cc","data":{"session_id":"a@b.cc","user_id":"a@b.cc","role":"chat","x":"chat"},"user":{"id":"a@b.cc","name":"a@b.cc"},"message":{"id":"a@b.cc"}}`,
			`{"event_type":"chat","agent_id":"a@b.cc","timestamp":"0301234567","created":"[email]","data":{"session_id":"a@b.cc","user_id":"a@b.cc","role":"chat","x":"[word]"},"user":{"id":"a@b.cc","name":"[email]"},"message":{"id":"a@b.cc"}}`},
		{"keeps them nowhere else",
			`{"metadata":{"agent_id":"a@b.cc","data":{"session_id":"a@b.cc"}},"data":{"data":{"user_id":"a@b.cc"}},"root":{"id":"a@b.cc"},"":{"id":"a@b.cc"}}`,
			`{"metadata":{"agent_id":"[email]","data":{"session_id":"[email]"}},"data":{"data":{"user_id":"[email]"}},"root":{"id":"[email]"},"":{"id":"[email]"}}`},
		{"masks names that mean nothing", `{"a@b.cc":1,"message":2,"chat":3}`, `{"[email]":1,"message":2,"[word]":3}`},
		{"masks lists", `["a@b.cc",["a@b.cc",{"id":"a@b.cc"}]]`, `["[email]",["[email]",{"id":"[email]"}]]`},
		{"masks a text alone", `"a@b.cc"`, `"[email]"`},
		{"masks what is no JSON", "to=a@b.cc&tel=%2B49 (030 1234567)", "to=[email]&tel=%2B49 ([phone])"},
		{"masks behind the end of the JSON", `{"message":"a@b.cc"} a@b.cc`, `{"message":"[email]"} [email]`},
		{"masks JSON that ends too early", `{"message":"a@b.cc","x":"b\u0040c.dd`, `{"message":"[email]","x":"[email]`},
		{"masks broken JSON", `{"x":"a@b.cc","y":'b\u0040c.dd', "z":"a@b.cc"}`, `{"x":"[email]","y":'[email]', "z":"[email]"}`},
		{"masks beside invalid UTF-8", "{\"x\":\"\xff a@b.cc\"}", "{\"x\":\"\xff [email]\"}"},
		{"masks beside lone surrogates", `{"x":"\ud83da@b.cc\ude00"}`, `{"x":"\ud83d[email]\ude00"}`},
		{"leaves numbers", `{"x":4111111111111111}`, `{"x":4111111111111111}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := string(all.Body([]byte(tt.body))); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// FuzzBody holds what is promised of bodies.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"event_type":"chat.push","data":{"message":"a\u0040b.cc, +49 151 12345678","role":"user"},"timestamp":1705312200.0}`,
		`{"a@b.cc":["4111 1111 1111 1111",{"x":"DE89370400440532013000"}]}`,
		"{\"x\":\"\\ud83d\\ude00 (415) 555-2671 \xff", `[email]@b.cc 0[phone]0301234567`, `foo foofoo [foo`,
	} {
		f.Add([]byte(seed))
	}
	all := rules(f, redact.BuiltIn, `foo=fo+`, `long=\bx\w+y\b`)
	f.Fuzz(func(t *testing.T, body []byte) {
		masked := all.Body(bytes.Clone(body))
		if again := all.Body(bytes.Clone(masked)); !bytes.Equal(again, masked) {
			t.Errorf("masked twice, %q became %q, then %q", body, masked, again)
		}
		lax := jsontext.AllowInvalidUTF8(true)
		was, is := jsontext.Value(body), jsontext.Value(masked)
		if was.IsValid(lax, jsontext.AllowDuplicateNames(true)) != is.IsValid(lax, jsontext.AllowDuplicateNames(true)) {
			t.Errorf("%q is JSON or %q is, but not both", body, masked)
		}
		if json.Valid(body) {
			sameButStrings(t, body, masked)
		}
	})
}

// sameButStrings walks two bodies, and fails where they differ in more than strings
// that were masked.
func sameButStrings(t *testing.T, a, b []byte) {
	t.Helper()
	options := []jsontext.Options{jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true)}
	one, other := jsontext.NewDecoder(bytes.NewReader(a), options...), jsontext.NewDecoder(bytes.NewReader(b), options...)
	for {
		if one.PeekKind() != other.PeekKind() {
			t.Fatalf("%q and %q are of other kinds", a, b)
		}
		x, err := one.ReadToken()
		y, _ := other.ReadToken()
		if err != nil {
			return
		}
		x, y = x.Clone(), y.Clone()
		if x.String() != y.String() && (x.Kind() != '"' || !strings.Contains(y.String(), "]")) {
			t.Fatalf("%q became %q", x, y)
		}
	}
}

func BenchmarkBody(b *testing.B) {
	body := []byte(`{"agent_id":"A80HVD8577","event_type":"chat.push","data":{"role":"user","message":"I would like to know whether ` +
		`my order 12345 has left, and when I can expect it here; it was promised for the 24th of December at the latest.",` +
		`"session_id":"8d947f06-2c36-4d98-aafe-b232da2433ff","timestamp":1790607268.8956978},"timestamp":1790607268.895705}`)
	hit := bytes.Replace(body, []byte("my order 12345"), []byte("jo@example.org"), 1)
	for name, builtin := range map[string][]string{"none": nil, "email,phone,card": {"email", "phone", "card"}, "all": redact.BuiltIn} {
		r := rules(b, builtin)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r.Body(body)
			}
		})
		b.Run(name+" with a match", func(b *testing.B) {
			for b.Loop() {
				r.Body(hit)
			}
		})
	}
}
