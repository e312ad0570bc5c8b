package api

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// csvColumn is a column of a CSV: a field of its rows, by the name that JSON has for it.
// That of a struct in the row is outer.inner.
type csvColumn struct {
	name  string
	index []int
}

// columnsOf are the columns of rows of a type, which is a struct, in the order of its
// fields.
func columnsOf(row reflect.Type) []csvColumn {
	return appendColumns(nil, row, "", nil)
}

func appendColumns(columns []csvColumn, row reflect.Type, prefix string, index []int) []csvColumn {
	for i := range row.NumField() {
		field := row.Field(i)
		at := append(append([]int(nil), index...), i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case name == "-" || !field.IsExported() && !field.Anonymous:
		case field.Anonymous && name == "":
			columns = appendColumns(columns, field.Type, prefix, at)
		case isNested(field.Type):
			columns = appendColumns(columns, field.Type, prefix+jsonName(name, field)+".", at)
		default:
			columns = append(columns, csvColumn{prefix + jsonName(name, field), at})
		}
	}
	return columns
}

func jsonName(tag string, field reflect.StructField) string {
	if tag == "" {
		return field.Name
	}
	return tag
}

// isNested tells of a struct that JSON shows as an object of its fields.
func isNested(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]())
}

// csvWriter writes rows as CSV: RFC 4180, in UTF-8, with lines that end in LF.
type csvWriter struct {
	out     *csv.Writer
	columns []csvColumn
	cells   []string
	begun   bool
}

func (w *csvWriter) write(row any) error {
	if err := w.begin(); err != nil {
		return err
	}
	value := reflect.ValueOf(row).Elem()
	for i, c := range w.columns {
		cell, err := cellOf(value.FieldByIndex(c.index))
		if err != nil {
			return fmt.Errorf("writing %s as CSV: %w", c.name, err)
		}
		w.cells[i] = cell
	}
	return w.out.Write(w.cells)
}

// begin writes the header, once.
func (w *csvWriter) begin() error {
	if w.begun {
		return nil
	}
	w.begun = true
	for i, c := range w.columns {
		w.cells[i] = c.name
	}
	return w.out.Write(w.cells)
}

func (w *csvWriter) flush() error {
	if err := w.begin(); err != nil { // a list without rows has a header too
		return err
	}
	w.out.Flush()
	return w.out.Error()
}

// cellOf is a value as JSON shows it: null is empty, a text stands without its quotes,
// and an object or array is its JSON.
func cellOf(value reflect.Value) (string, error) {
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return "", nil
		}
		value = value.Elem()
	}
	if value.CanAddr() {
		if marshaler, ok := value.Addr().Interface().(json.Marshaler); ok {
			text, err := marshaler.MarshalJSON()
			if err != nil {
				return "", err
			}
			return jsonCell(text)
		}
	}
	switch value.Kind() {
	case reflect.String:
		return harmless(value.String()), nil
	case reflect.Bool:
		return strconv.FormatBool(value.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(value.Int(), 10), nil
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return base64.StdEncoding.EncodeToString(value.Bytes()), nil
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value.Interface()); err != nil {
		return "", err
	}
	return jsonCell(bytes.TrimSpace(text.Bytes()))
}

// jsonCell is a JSON value in a cell.
func jsonCell(text []byte) (string, error) {
	switch {
	case string(text) == "null":
		return "", nil
	case len(text) > 0 && text[0] == '"':
		var plain string
		err := json.Unmarshal(text, &plain)
		return harmless(plain), err
	}
	var compact bytes.Buffer
	err := json.Compact(&compact, text)
	return compact.String(), err
}

// harmless puts a ' before a text that a spreadsheet would take for a formula, as OWASP
// advises ("CSV Injection"): what a visitor writes must not run where an analyst opens
// it. Texts that begin with such a ' get another, so that one can be taken away again
// everywhere. Numbers are no texts, and stay.
func harmless(text string) string {
	bare := strings.TrimLeft(text, "'")
	if bare != "" && strings.ContainsRune("=+-@\t\r\n", rune(bare[0])) {
		return "'" + text
	}
	return text
}
