package store

import (
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

func valuesOf(format int16, raw ...[]byte) *rowValues {
	fields := make([]pgconn.FieldDescription, len(raw))
	for i := range fields {
		fields[i].Format = format
	}
	return &rowValues{fields: fields, raw: raw}
}

func TestNumbersAreReadAsStrconvReadsThem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Int64().Draw(t, "number")
		v := valuesOf(pgx.TextFormatCode, []byte(strconv.FormatInt(want, 10)))
		if got := v.int(); got != want || v.done() != nil {
			t.Errorf("%d: %d, %v", want, got, v.done())
		}
	})
}

func TestARowOfAnotherFormIsAnError(t *testing.T) {
	t.Parallel()
	text, binary := int16(pgx.TextFormatCode), int16(pgx.BinaryFormatCode)
	for _, test := range []struct {
		name, want string
		of         *rowValues
		read       func(*rowValues)
	}{
		{"too few values", "has 1 values", valuesOf(text, []byte("1")), func(v *rowValues) { v.int(); v.text() }},
		{"too many values", "has 2 values, and 1", valuesOf(text, []byte("1"), nil), func(v *rowValues) { v.int() }},
		{"no digits", `"1x" is no whole number`, valuesOf(text, []byte("1x")), func(v *rowValues) { v.int() }},
		{"no digit", `"-" is no whole number`, valuesOf(text, []byte("-")), func(v *rowValues) { v.int() }},
		{"nothing", `"" is no whole number`, valuesOf(text, []byte("")), func(v *rowValues) { v.int() }},
		{"bytes as text", "no bytea in binary", valuesOf(text, []byte(`\x00`)), func(v *rowValues) { v.bytes() }},
		{"half a number", "has 3 bytes", valuesOf(binary, []byte("abc")), func(v *rowValues) { v.int() }},
		{"no float", "reading a number", valuesOf(text, []byte("x")), func(v *rowValues) { v.floatOrNil() }},
		{"a time as text", "no time in binary", valuesOf(text, []byte("2026-01-01")), func(v *rowValues) { v.time() }},
		{"half a time", "no time in binary", valuesOf(binary, []byte("abc")), func(v *rowValues) { v.time() }},
	} {
		test.read(test.of)
		if err := test.of.done(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
