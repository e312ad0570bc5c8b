package api

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRowsWriteTheJSONThatTheyAreSaidToHave compares with encoding/json, which goes by
// the tags: a field that one of them lacks is a difference.
func TestRowsWriteTheJSONThatTheyAreSaidToHave(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		requireSameJSON(t, []session{anyRow[session](t), anyRow[session](t)})
		requireSameJSON(t, []message{anyRow[message](t)})
		requireSameJSON(t, []message{})
		requireSameBody(t, &sessionList{Data: []session{}})
		requireSameBody(t, &sessionList{Data: []session{anyRow[session](t)}, Messages: &messageStart{Data: []message{anyRow[message](t)}, NextCursor: new("next"), HasMore: true}})
		g := anyRow[group](t)
		want, err := encodeJSON(&g)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.appendJSON(nil); string(got) != string(bytes.TrimSpace(want)) {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

func requireSameJSON[T any](t *rapid.T, rows []T) {
	t.Helper()
	requireSameBody(t, &page[T]{Data: rows, NextCursor: new("next"), HasMore: true})
}

func requireSameBody(t *rapid.T, body quickBody) {
	t.Helper()
	want, err := encodeJSON(body)
	if err != nil {
		t.Fatal(err)
	}
	got, err := body.appendBody(nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// anyRow sets all fields of a row.
func anyRow[T any](t *rapid.T) T {
	var row T
	v := reflect.ValueOf(&row).Elem()
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		setAny(t, v.Type().Field(i).Name, v.Field(i))
	}
	return row
}

func setAny(t *rapid.T, name string, field reflect.Value) {
	switch {
	case field.Type() == reflect.TypeFor[timestamp]():
		at := time.UnixMicro(rapid.Int64Range(0, maxMicros).Draw(t, name))
		field.Set(reflect.ValueOf(timestamp(at)))
	case field.Kind() == reflect.Pointer:
		if rapid.Bool().Draw(t, name+" is there") {
			field.Set(reflect.New(field.Type().Elem()))
			setAny(t, name, field.Elem())
		}
	case field.Kind() == reflect.String:
		field.SetString(rapid.SampledFrom([]string{"", "plain", "Grüße", "<&>", `"quoted" \`, "line\nbreak", "\u2028", "\xff", "\x00\x7f"}).Draw(t, name))
	case field.Kind() == reflect.Float64:
		field.SetFloat(rapid.Float64Range(-1e25, 1e25).Draw(t, name))
	case field.CanInt():
		field.SetInt(rapid.Int64Range(-1<<31, 1<<31-1).Draw(t, name))
	default:
		t.Fatalf("no value for %s", name)
	}
}
