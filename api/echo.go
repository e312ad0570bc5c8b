package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf16"
)

// Echo is the member of an answer that tells how its query was understood. register
// fills it in. (Exported, since huma passes over embedded structs that are not.)
type Echo struct {
	Query map[string]any `json:"query" nullable:"false" doc:"The query as it was understood, defaults included: each filter, range, sort and limit by the name of its parameter, null where it was not given."`
}

func (e *Echo) setQuery(query map[string]any) { e.Query = query }

// echo tells an answer, if it has room for it, which query it answers.
func (a *answer[T]) echo(in any) {
	if body, ok := any(&a.Body).(interface{ setQuery(map[string]any) }); ok {
		body.setQuery(resolvedQuery(in))
	}
}

// resolvedQuery has the parameters of an input by their names, but for those that
// don't tell what is asked for, which have the tag echo:"-". A handler that resolves
// a parameter (a default that depends on others) writes it back to its input.
func resolvedQuery(in any) map[string]any {
	query := make(map[string]any)
	addParameters(query, reflect.Indirect(reflect.ValueOf(in)))
	return query
}

func addParameters(query map[string]any, in reflect.Value) {
	for i := range in.NumField() {
		field := in.Type().Field(i)
		if field.Anonymous && field.Type.Kind() == reflect.Struct {
			addParameters(query, in.Field(i))
			continue
		}
		name := parameterName(field)
		if name == "" || !field.IsExported() || field.Tag.Get("echo") == "-" {
			continue
		}
		query[name] = parameterValue(in.Field(i))
	}
}

func parameterName(field reflect.StructField) string {
	for _, in := range []string{"path", "query"} {
		if name, _, _ := strings.Cut(field.Tag.Get(in), ","); name != "" {
			return name
		}
	}
	return ""
}

// parameterValue is a parameter as JSON shows it. An empty one can't be given, so it
// was not.
func parameterValue(value reflect.Value) any {
	if value.Kind() == reflect.String && value.Len() == 0 || value.Kind() == reflect.Slice && value.Len() == 0 {
		return nil
	}
	if value.CanAddr() {
		if marshaler, ok := value.Addr().Interface().(json.Marshaler); ok {
			return marshaler
		}
	}
	return value.Interface()
}

// asciiJSON is JSON that may stand in a header: RFC 9110, 5.5.
func asciiJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return "" // parameters always marshal
	}
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(string(text))) {
		if unit < 0x7f {
			b.WriteByte(byte(unit))
		} else {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}
