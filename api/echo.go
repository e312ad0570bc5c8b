package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"

	"github.com/danielgtaylor/huma/v2"
)

// Echo is the member of an answer that tells how its query was understood. register
// fills it in. (Exported, since huma passes over embedded structs that are not.)
type Echo struct {
	Query resolvedQuery `json:"query" nullable:"false" doc:"The query as it was understood, defaults included: each filter, range, sort and limit by the name of its parameter, null where it was not given."`
}

func (e *Echo) setQuery(query resolvedQuery) { e.Query = query }

// echo tells an answer, if it has room for it, which query it answers.
func (a *answer[T]) echo(in any) {
	if body, ok := any(&a.Body).(interface{ setQuery(resolvedQuery) }); ok {
		body.setQuery(resolvedQueryOf(in))
	}
}

// resolvedQuery has the parameters of an input by their names, but for those that
// don't tell what is asked for, which have the tag echo:"-". It is read when it is
// written: a handler that resolves a parameter (a default that depends on others)
// writes it back to its input.
type resolvedQuery struct {
	in    reflect.Value // a struct; invalid for no parameters
	limit *int          // instead of the parameter limit; 0 shows as null
}

// resolvedQueryOf is that of an input, or of what points to one.
func resolvedQueryOf(in any) resolvedQuery {
	return resolvedQuery{in: reflect.Indirect(reflect.ValueOf(in))}
}

// withLimit is the query with another limit, if it has one.
func (q resolvedQuery) withLimit(limit int) resolvedQuery {
	q.limit = &limit
	return q
}

// Schema describes it to huma.
func (resolvedQuery) Schema(schemas huma.Registry) *huma.Schema {
	return schemas.Schema(reflect.TypeFor[map[string]any](), false, "")
}

// MarshalJSON writes an object.
func (q resolvedQuery) MarshalJSON() ([]byte, error) {
	return q.appendJSON(make([]byte, 0, 512)), nil
}

// appendJSON writes an object, in the order of the names.
func (q resolvedQuery) appendJSON(b []byte) []byte {
	b = append(b, '{')
	if !q.in.IsValid() {
		return append(b, '}')
	}
	for i, p := range parametersOf(q.in.Type()) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, p.member...)
		if q.limit != nil && p.name == "limit" {
			b = appendParameter(b, reflect.ValueOf(*q.limit), *q.limit > 0)
			continue
		}
		field := q.in.FieldByIndex(p.index)
		b = appendParameter(b, field, field.Kind() != reflect.String && field.Kind() != reflect.Slice || field.Len() > 0)
	}
	return append(b, '}')
}

// appendParameter writes a value, or null for one that was not given. (An empty text
// or list can't be given.)
func appendParameter(b []byte, value reflect.Value, isGiven bool) []byte {
	switch {
	case !isGiven:
		return append(b, "null"...)
	case value.CanAddr() && value.Addr().Type().Implements(marshalerType):
	case value.Kind() == reflect.String:
		return appendText(b, "", value.String())
	case value.CanInt():
		return strconv.AppendInt(b, value.Int(), 10)
	}
	if value.CanAddr() {
		value = value.Addr()
	}
	text, err := encodeJSON(value.Interface())
	if err != nil {
		return append(b, "null"...) // parameters always marshal
	}
	return append(b, bytes.TrimSuffix(text, []byte("\n"))...)
}

var marshalerType = reflect.TypeFor[json.Marshaler]()

// echoedParameter is a parameter of an input's type.
type echoedParameter struct {
	name   string
	member string // name, as JSON begins a member
	index  []int
}

// parametersByType has []echoedParameter by reflect.Type: there are as many as operations.
var parametersByType sync.Map

// parametersOf are the parameters of a type that are echoed, in the order of their names.
func parametersOf(in reflect.Type) []echoedParameter {
	if known, ok := parametersByType.Load(in); ok {
		return known.([]echoedParameter)
	}
	var all []echoedParameter
	for _, field := range reflect.VisibleFields(in) {
		name := parameterName(field)
		if name == "" || !field.IsExported() || field.Tag.Get("echo") == "-" {
			continue
		}
		all = append(all, echoedParameter{name, strconv.Quote(name) + ":", field.Index})
	}
	slices.SortFunc(all, func(p, q echoedParameter) int { return cmp.Compare(p.name, q.name) })
	parametersByType.Store(in, all)
	return all
}

func parameterName(field reflect.StructField) string {
	for _, in := range []string{"path", "query"} {
		if name, _, _ := strings.Cut(field.Tag.Get(in), ","); name != "" {
			return name
		}
	}
	return ""
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
