package store

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5/pgtype"
)

// SQLColumn is a column of an Answer.
type SQLColumn struct {
	Name string
	Type string // as Postgres names it, such as bigint or text[]

	kind    valueKind
	element valueKind // of an array
}

// valueKind is how values are shown.
type valueKind int

const (
	kindText valueKind = iota
	kindNumber
	kindBool
	kindJSON
	kindTimestamptz
	kindTimestamp
	kindOther // such as a date: a text in which nobody can write what they like
	kindArray
)

var kindOfOID = map[uint32]valueKind{
	pgtype.Int2OID: kindNumber, pgtype.Int4OID: kindNumber, pgtype.Int8OID: kindNumber, pgtype.OIDOID: kindNumber,
	pgtype.NumericOID: kindNumber, pgtype.Float4OID: kindNumber, pgtype.Float8OID: kindNumber,
	pgtype.BoolOID: kindBool, pgtype.JSONOID: kindJSON, pgtype.JSONBOID: kindJSON,
	pgtype.TimestamptzOID: kindTimestamptz, pgtype.TimestampOID: kindTimestamp,
	pgtype.DateOID: kindOther, pgtype.TimeOID: kindOther, pgtype.TimetzOID: kindOther, pgtype.IntervalOID: kindOther,
	pgtype.UUIDOID: kindOther, pgtype.ByteaOID: kindOther, pgtype.InetOID: kindOther, pgtype.CIDROID: kindOther,
}

func newSQLColumn(name, typeName string, oid uint32) SQLColumn {
	if element, isArray := arrayElement(oid); isArray {
		return SQLColumn{name, typeName, kindArray, kindOfOID[element]}
	}
	return SQLColumn{Name: name, Type: typeName, kind: kindOfOID[oid]}
}

var sqlTypes = pgtype.NewMap() // which nobody changes

// arrayElement is the type of an array's elements; false if it is none that is known, or
// one whose elements a comma doesn't separate.
func arrayElement(oid uint32) (uint32, bool) {
	known, ok := sqlTypes.TypeForOID(oid)
	if !ok || oid == pgtype.BoxArrayOID {
		return 0, false
	}
	codec, ok := known.Codec.(*pgtype.ArrayCodec)
	if !ok {
		return 0, false
	}
	return codec.ElementType.OID, true
}

// AppendJSON appends a value of the column: null, a boolean, a number to the digit
// (NaN and the infinities are texts), JSON as it is, an array as an array, a timestamp
// as in RFC 3339, in UTC where it has a zone; anything else as the text that Postgres
// has for it.
func (c *SQLColumn) AppendJSON(dst, value []byte) []byte {
	switch {
	case value == nil:
		return append(dst, "null"...)
	case c.kind == kindArray:
		if array, ok := appendArray(dst, value, c.element); ok {
			return array
		}
	}
	return appendScalar(dst, value, c.kind)
}

// AppendText appends a value of the column as a text: as in JSON, but without quotes.
func (c *SQLColumn) AppendText(dst, value []byte) []byte {
	switch c.kind {
	case kindArray, kindJSON:
		return c.AppendJSON(dst, value)
	case kindTimestamptz, kindTimestamp:
		return append(dst, shownTime(value, c.kind)...)
	}
	return append(dst, value...)
}

// IsText reports whether values are texts of whoever wrote them.
func (c *SQLColumn) IsText() bool { return c.kind == kindText }

// IsNumber reports whether values are numbers.
func (c *SQLColumn) IsNumber() bool { return c.kind == kindNumber }

func appendScalar(dst, value []byte, kind valueKind) []byte {
	switch kind {
	case kindNumber:
		if isJSONNumber(value) {
			return append(dst, value...)
		}
	case kindBool:
		if len(value) == 1 {
			return append(dst, map[bool]string{true: "true", false: "false"}[value[0] == 't']...)
		}
	case kindJSON:
		var compact bytes.Buffer // one line
		if json.Compact(&compact, value) == nil {
			return append(dst, compact.Bytes()...)
		}
	case kindTimestamptz, kindTimestamp:
		return appendQuoted(dst, shownTime(value, kind))
	}
	return appendQuoted(dst, string(value))
}

func isJSONNumber(value []byte) bool {
	digits := bytes.TrimPrefix(value, []byte("-"))
	return len(digits) > 0 && digits[0] >= '0' && digits[0] <= '9'
}

func appendQuoted(dst []byte, text string) []byte {
	quoted, _ := jsontext.AppendQuote(dst, text) // with U+FFFD for what is no UTF-8
	return quoted
}

// How Postgres writes times (DateStyle ISO), and how we do.
const (
	postgresTime = "2006-01-02 15:04:05.999999"
	shownMicros  = "2006-01-02T15:04:05.000000"
)

// zones are the offsets that Postgres writes.
var zones = []string{"-07", "-07:00", "-07:00:00"}

// shownTime is a time as in the other answers of the API. What these can't tell, such as
// infinity or years before 1, stays as it is.
func shownTime(value []byte, kind valueKind) string {
	text := string(value)
	if kind == kindTimestamp {
		if at, err := time.Parse(postgresTime, text); err == nil {
			return at.Format(shownMicros)
		}
		return text
	}
	for _, zone := range zones {
		if at, err := time.Parse(postgresTime+zone, text); err == nil {
			return at.UTC().Format(shownMicros) + "Z"
		}
	}
	return text
}

// appendArray appends the JSON of what Postgres writes of an array, such as
// {1,NULL,"a \"b\""} or [0:1]={{1},{2}}. It is false if it can't be read.
func appendArray(dst, value []byte, element valueKind) ([]byte, bool) {
	text := string(value)
	if strings.HasPrefix(text, "[") { // where its indexes begin: JSON has no place for it
		_, text, _ = strings.Cut(text, "=")
	}
	r := &arrayReader{rest: text, element: element}
	dst, ok := r.array(dst)
	return dst, ok && r.rest == ""
}

type arrayReader struct {
	rest    string
	element valueKind
}

// skip passes over a character, if it is the next one.
func (r *arrayReader) skip(char byte) bool {
	if r.rest == "" || r.rest[0] != char {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *arrayReader) array(dst []byte) ([]byte, bool) {
	if !r.skip('{') {
		return dst, false
	}
	dst = append(dst, '[')
	if r.skip('}') {
		return append(dst, ']'), true
	}
	for {
		var ok bool
		if dst, ok = r.value(dst); !ok {
			return dst, false
		}
		if r.skip('}') {
			return append(dst, ']'), true
		}
		if !r.skip(',') {
			return dst, false
		}
		dst = append(dst, ',')
	}
}

func (r *arrayReader) value(dst []byte) ([]byte, bool) {
	switch {
	case strings.HasPrefix(r.rest, "{"):
		return r.array(dst)
	case r.skip('"'):
		return r.quoted(dst)
	}
	end := strings.IndexAny(r.rest, ",}")
	if end < 1 {
		return dst, false
	}
	bare := r.rest[:end]
	r.rest = r.rest[end:]
	if bare == "NULL" {
		return append(dst, "null"...), true
	}
	return appendScalar(dst, []byte(bare), r.element), true
}

// quoted reads up to the closing quote; a backslash stands before a quote and before
// itself.
func (r *arrayReader) quoted(dst []byte) ([]byte, bool) {
	var text []byte
	for i := 0; i < len(r.rest); i++ {
		switch char := r.rest[i]; {
		case char == '"':
			r.rest = r.rest[i+1:]
			return appendScalar(dst, text, r.element), true
		case char == '\\' && i+1 < len(r.rest):
			i++
			text = append(text, r.rest[i])
		default:
			text = append(text, char)
		}
	}
	return dst, false
}
