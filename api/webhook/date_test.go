package webhook

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// dated is a delivery with a timestamp as it is written in JSON.
func dated(timestamp string) string {
	return fmt.Sprintf(`{"type":"x","timestamp":%s}`, timestamp)
}

func TestTimes(t *testing.T) {
	t.Parallel()
	zeros, digits := strings.Repeat("0", 1<<20), strings.Repeat("49", 1<<19)
	for _, rule := range []struct{ promise, timestamp, want string }{
		{"a number is seconds", `1705312200`, "2024-01-15T09:50:00Z"},
		{"seconds have a fraction", `1705312200.25`, "2024-01-15T09:50:00.25Z"},
		{"seconds may have an exponent", `1.7053122e9`, "2024-01-15T09:50:00Z"},
		{"an exponent may be upper case", `17053122E+2`, "2024-01-15T09:50:00Z"},
		{"an exponent may be negative", `170531220025e-2`, "2024-01-15T09:50:00.25Z"},
		{"milliseconds begin at 1e11", `1705312200250`, "2024-01-15T09:50:00.25Z"},
		{"milliseconds have a fraction", `1705312200250.5`, "2024-01-15T09:50:00.2505Z"},
		{"microseconds begin at 1e14", `1705312200250001`, "2024-01-15T09:50:00.250001Z"},
		{"half a microsecond of seconds is rounded up", `1705312200.0000005`, "2024-01-15T09:50:00.000001Z"},
		{"less than half is rounded down", `1705312200.00000049999999999999999999`, "2024-01-15T09:50:00Z"},
		{"half a microsecond of milliseconds is rounded up", `1705312200250.0005`, "2024-01-15T09:50:00.250001Z"},
		{"half a microsecond is rounded up", `1705312200250000.5`, "2024-01-15T09:50:00.250001Z"},
		{"rounding carries", `1705312199.9999995`, "2024-01-15T09:50:00Z"},
		{"a literal is never a float", `1705312200.1234565`, "2024-01-15T09:50:00.123457Z"},
		{"a megabyte of zeros is read", `1705312200.` + zeros, "2024-01-15T09:50:00Z"},
		{"a megabyte of digits is read", `1705312200.` + digits, "2024-01-15T09:50:00.494949Z"},
		{"a megabyte of leading zeros is read", `0.` + zeros + `17e1048586`, "2023-11-14T22:13:20Z"},
		{"a string may be a number", `"1705312200.25"`, "2024-01-15T09:50:00.25Z"},
		{"a string may be milliseconds", `"1705312200250"`, "2024-01-15T09:50:00.25Z"},

		{"2015 is the first year", `1420070400`, "2015-01-01T00:00:00Z"},
		{"what is rounded into 2015 is in it", `1420070399.9999995`, "2015-01-01T00:00:00Z"},
		{"2015 in milliseconds", `1420070400000`, "2015-01-01T00:00:00Z"},
		{"2015 in microseconds", `1420070400000000`, "2015-01-01T00:00:00Z"},
		{"2015 in RFC 3339", `"2015-01-01T00:00:00Z"`, "2015-01-01T00:00:00Z"},
		{"a day ahead is possible", `1790694000.123456`, "2026-09-29T15:00:00.123456Z"},
		{"a day ahead in RFC 3339 is possible", `"2026-09-29T15:00:00.123456Z"`, "2026-09-29T15:00:00.123456Z"},

		{"RFC 3339 in UTC", `"2024-01-15T10:30:00Z"`, "2024-01-15T10:30:00Z"},
		{"RFC 3339 with an offset", `"2024-01-15T10:30:00+05:30"`, "2024-01-15T05:00:00Z"},
		{"RFC 3339 with a negative offset", `"2024-01-15T23:30:00-01:00"`, "2024-01-16T00:30:00Z"},
		{"RFC 3339 with an unknown offset", `"2024-01-15T10:30:00-00:00"`, "2024-01-15T10:30:00Z"},
		{"RFC 3339 in lower case", `"2024-01-15t10:30:00z"`, "2024-01-15T10:30:00Z"},
		{"RFC 3339 with a fraction", `"2024-01-15T10:30:00.5Z"`, "2024-01-15T10:30:00.5Z"},
		{"RFC 3339 rounded up", `"2024-01-15T10:30:00.0000005Z"`, "2024-01-15T10:30:00.000001Z"},
		{"RFC 3339 rounded down", `"2024-01-15T10:30:00.00000049999999Z"`, "2024-01-15T10:30:00Z"},
		{"RFC 3339 rounded into the next day", `"2024-01-15T23:59:59.9999995Z"`, "2024-01-16T00:00:00Z"},
		{"RFC 3339 with a megabyte of digits", `"2024-01-15T10:30:00.` + digits + `Z"`, "2024-01-15T10:30:00.494949Z"},
		{"a leap day", `"2024-02-29T00:00:00Z"`, "2024-02-29T00:00:00Z"},
		{"a leap second is the next second", `"2016-12-31T23:59:60Z"`, "2017-01-01T00:00:00Z"},
		{"a leap second has a fraction", `"2016-12-31T23:59:60.5Z"`, "2017-01-01T00:00:00.5Z"},
		{"a leap second with an offset", `"2016-12-31T15:59:60-08:00"`, "2017-01-01T00:00:00Z"},
	} {
		t.Run(rule.promise, func(t *testing.T) {
			t.Parallel()
			e := mustDecode(t, dated(rule.timestamp))
			if !e.OccurredAt.Equal(at(rule.want)) || e.Undated {
				t.Errorf("%.60s is %v (undated: %v), want %s", rule.timestamp, e.OccurredAt, e.Undated, rule.want)
			}
		})
	}
}

func TestImpossibleTimesAreRefused(t *testing.T) {
	t.Parallel()
	for _, rule := range []struct{ name, timestamp, reason string }{
		{"0", `0`, "before 2015"},
		{"-0", `-0.0`, "before 2015"},
		{"0 with a great exponent", `0e999999999`, "before 2015"},
		{"a negative number", `-1705312200`, "before 2015"},
		{"a negative number without end", `-1e999999999`, "before 2015"},
		{"a number next to nothing", `1e-999999999`, "before 2015"},
		{"the last microsecond of 2014", `1420070399.999999`, "before 2015"},
		{"what is rounded to 2014", `1420070399.9999994`, "before 2015"},
		{"2014 in milliseconds", `1420070399999`, "before 2015"},
		{"1e11, which is milliseconds of 1973", `100000000000`, "before 2015"},
		{"1e11 as it may be written", `1e11`, "before 2015"},
		{"1e14, which is microseconds of 1973", `100000000000000`, "before 2015"},
		{"the number below 1e11, which is seconds", `99999999999.999999`, "ahead"},
		{"the number below 1e14, which is milliseconds", `99999999999999.999`, "ahead"},
		{"a microsecond more than a day ahead", `1790694000.123457`, "ahead"},
		{"what is rounded to more than a day ahead", `1790694000.1234565`, "ahead"},
		{"nanoseconds", `1705312200250000000`, "ahead"},
		{"the greatest int64", `9223372036854775807`, "ahead"},
		{"a number without end", `1e999999999`, "ahead"},
		{"an exponent beyond any integer", `1e` + strings.Repeat("9", 1<<20), "ahead"},
		{"a megabyte of digits", strings.Repeat("9", 1<<20), "ahead"},
		{"a numeric string", `"0"`, "before 2015"},
		{"a year of RFC 3339", `"0000-01-01T00:00:00Z"`, "before 2015"},
		{"the last second of 2014 in RFC 3339", `"2014-12-31T23:59:59.9999994Z"`, "before 2015"},
		{"RFC 3339 a microsecond more than a day ahead", `"2026-09-29T15:00:00.123457Z"`, "ahead"},
		{"the last year of RFC 3339", `"9999-12-31T23:59:59-23:59"`, "ahead"},
	} {
		t.Run(rule.name, func(t *testing.T) {
			t.Parallel()
			if reason := mustRefuse(t, dated(rule.timestamp)); !strings.Contains(reason, rule.reason) {
				t.Errorf("the reason %q does not say %q", reason, rule.reason)
			}
		})
	}
}

func TestUnreadableTimesFallThrough(t *testing.T) {
	t.Parallel()
	for _, unreadable := range []string{
		`null`, `true`, `{}`, `[1705312200]`, `""`, `"now"`, `"NaN"`, `"0x65a4ff48"`, `"1_705_312_200"`,
		`" 1705312200"`, `"1705312200 "`, `"+1705312200"`, `"01705312200"`, `"1705312200."`, `".5"`, `"1e"`, `"1e+"`, `"-"`, `"1.5.5"`, `"1e5.5"`,
		`"2024-01-15"`, `"2024-01-15T10:30:00"`, `"2024-01-15 10:30:00Z"`, `"2024-01-15T10:30Z"`, `"2024-01-15T9:30:00Z"`,
		`"2024-01-15T10:30:00,5Z"`, `"2024-01-15T10:30:00.Z"`, `"2024-01-15T10:30:00+0530"`, `"2024-01-15T10:30:00+05"`,
		`"2024-01-15T10:30:00+24:00"`, `"2024-01-15T10:30:00+05:60"`, `"2024-01-15T10:30:00Z "`, `"2024-01-15T10:30:00ZZ"`,
		`"2024-13-15T10:30:00Z"`, `"2023-02-29T10:30:00Z"`, `"2024-01-15T24:00:00Z"`, `"2024-01-15T10:60:00Z"`,
		`"2024-01-15T10:30:60Z"`, `"2016-12-31T23:59:60+01:00"`, `"2016-12-31T23:59:61Z"`, `"12024-01-15T10:30:00Z"`, `"２０24-01-15T10:30:00Z"`,
		`"\ud800"`, `"Mon, 15 Jan 2024 10:30:00 GMT"`,
	} {
		t.Run(unreadable, func(t *testing.T) {
			t.Parallel()
			if e := mustDecode(t, dated(unreadable)); !e.Undated || !e.OccurredAt.Equal(e.ReceivedAt) {
				t.Errorf("%s is %v", unreadable, e.OccurredAt)
			}
			e := mustDecode(t, `{"type":"x","data":{"timestamp":`+unreadable+`},"timestamp":`+unreadable+`,"created":1705312200}`)
			if !e.OccurredAt.Equal(at("2024-01-15T09:50:00Z")) || e.Undated {
				t.Errorf("created is not read after %s, but %v", unreadable, e.OccurredAt)
			}
		})
	}
}

func TestPlacesOfATime(t *testing.T) {
	t.Parallel()
	t.Run("data.timestamp goes first", func(t *testing.T) {
		t.Parallel()
		e := mustDecode(t, `{"type":"x","created":3e9,"timestamp":3e9,"data":{"timestamp":1705312200}}`)
		if !e.OccurredAt.Equal(at("2024-01-15T09:50:00Z")) {
			t.Errorf("OccurredAt = %v", e.OccurredAt)
		}
	})
	t.Run("timestamp goes second", func(t *testing.T) {
		t.Parallel()
		e := mustDecode(t, `{"type":"x","created":3e9,"timestamp":1705312200,"data":{"created":3e9}}`)
		if !e.OccurredAt.Equal(at("2024-01-15T09:50:00Z")) {
			t.Errorf("OccurredAt = %v", e.OccurredAt)
		}
	})
	t.Run("a readable but impossible time decides", func(t *testing.T) {
		t.Parallel()
		reason := mustRefuse(t, `{"type":"x","data":{"timestamp":"5"},"timestamp":1705312200}`)
		if !strings.Contains(reason, `data.timestamp "5"`) {
			t.Errorf("the reason %q does not name the place", reason)
		}
	})
}

func TestTheNewestReceiptMovesWhatIsPossible(t *testing.T) {
	t.Parallel()
	body := []byte(dated(`1790780400`)) // 2026-09-29T15:00:00Z and a day
	decode := func(receivedAt, newest time.Time) error {
		_, err := Decode(body, receivedAt, newest)
		return err
	}
	clockSetBack, newest := at("2020-01-01T00:00:00Z"), at("2026-09-29T15:00:00Z")
	if err := decode(clockSetBack, newest); err != nil {
		t.Errorf("a clock set back refuses live traffic: %v", err)
	}
	if err := decode(newest, clockSetBack); err != nil {
		t.Errorf("an old log refuses live traffic: %v", err)
	}
	if err := decode(clockSetBack, newest.Add(-time.Microsecond)); err == nil {
		t.Error("a time more than a day ahead of both is accepted")
	}
}

func TestReceivedAtIsWholeMicrosecondsInUTC(t *testing.T) {
	t.Parallel()
	local := receipt.In(time.FixedZone("", 3600))
	e, err := Decode([]byte(`{"type":"x"}`), local, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if want := at("2026-09-28T15:00:00.123456Z"); e.ReceivedAt != want || e.OccurredAt != want {
		t.Errorf("ReceivedAt %v, OccurredAt %v, want %v", e.ReceivedAt, e.OccurredAt, want)
	}
}

// exactMicros is unixMicros as its rule says it, by fractions without bounds.
func exactMicros(literal string) *big.Int {
	r, ok := new(big.Rat).SetString(literal)
	if !ok {
		panic(literal)
	}
	scale := int64(1_000_000)
	if r.Cmp(big.NewRat(1e14, 1)) >= 0 {
		scale = 1
	} else if r.Cmp(big.NewRat(1e11, 1)) >= 0 {
		scale = 1000
	}
	r.Mul(r, big.NewRat(scale, 1)).Add(r, big.NewRat(1, 2))
	return new(big.Int).Div(r.Num(), r.Denom())
}

func TestUnixMicrosIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		literal := rapid.StringMatching(`(0|[1-9][0-9]{0,19})(\.(0{0,8}[0-9]{1,30}|4?9{0,12}[0-9]))?([eE][+-]?[0-9]{1,2})?`).Draw(t, "literal")
		number, ok := parseDecimal(literal)
		if !ok {
			t.Fatalf("%s is not read", literal)
		}
		got, want := big.NewInt(unixMicros(&number)), exactMicros(literal)
		if tooGreat := big.NewInt(1e18); want.Cmp(tooGreat) >= 0 {
			if got.Cmp(tooGreat) < 0 {
				t.Fatalf("%s is %v, want %v or the greatest int64", literal, got, want)
			}
			return
		}
		if got.Cmp(want) != 0 {
			t.Fatalf("%s is %v, want %v", literal, got, want)
		}
	})
}

// A number is read if and only if JSON would read it.
func FuzzParseDecimal(f *testing.F) {
	for _, seed := range []string{"0", "-0", "1705312200.0", "1e5", "1E-05", "00", "1.", ".5", "+1", "1e", "", "-", "0e0", " 1", "1\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		number, ok := parseDecimal(s)
		if want := isJSONNumber(s); ok != want {
			t.Fatalf("parseDecimal(%q) is %v, want %v", s, ok, want)
		}
		if !ok || len(s) > 300 || number.exponent > 1000 || number.exponent < -1000 {
			return
		}
		r, _ := new(big.Rat).SetString(s)
		if number.isWhole() != r.IsInt() {
			t.Errorf("isWhole(%q) = %v", s, number.isWhole())
		}
		floor := new(big.Int).Quo(new(big.Int).Abs(r.Num()), r.Denom())
		if got := number.floor(0); floor.Cmp(big.NewInt(1e18)) < 0 && floor.Cmp(big.NewInt(got)) != 0 {
			t.Errorf("floor(%q) = %d, want %v", s, got, floor)
		}
	})
}

// isJSONNumber is for a text without spaces around it what encoding/json says.
func isJSONNumber(s string) bool {
	return s != "" && (s[0] == '-' || isDigit(s[0])) && isDigit(s[len(s)-1]) && json.Valid([]byte(s))
}
