package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rowValues are the values of a row, read one after another in the order of its
// columns. It is for long rows of many: pgx's Scan finds out again for each value how
// to read it, which takes four times as long.
type rowValues struct {
	fields []pgconn.FieldDescription
	raw    [][]byte
	at     int
	err    error // the first one
}

// formatsOf is how Postgres should send columns to rowValues, for a list of their
// names: as it has them ready sooner, which is as text but for times and fractions.
func formatsOf(columns string) pgx.QueryResultFormats {
	var formats pgx.QueryResultFormats
	for name := range strings.SplitSeq(columns, ",") {
		format := int16(pgx.TextFormatCode)
		if name = strings.TrimSpace(name); strings.HasSuffix(name, "_at") || name == "rating" { // whose text may be rounded
			format = pgx.BinaryFormatCode
		}
		formats = append(formats, format)
	}
	return formats
}

// next is nil for null.
func (v *rowValues) next() (value []byte, isBinary bool) {
	if v.at >= len(v.raw) {
		v.fail("a row has %d values, and more are read", len(v.raw))
		return nil, false
	}
	value, isBinary = v.raw[v.at], v.fields[v.at].Format == pgx.BinaryFormatCode
	v.at++
	return value, isBinary
}

func (v *rowValues) fail(format string, args ...any) {
	if v.err == nil {
		v.err = fmt.Errorf(format, args...)
	}
}

// done is the first error, also if there are values left.
func (v *rowValues) done() error {
	if v.at < len(v.raw) {
		v.fail("a row has %d values, and %d are read", len(v.raw), v.at)
	}
	return v.err
}

func (v *rowValues) text() string {
	value, _ := v.next() // it is the same in both formats
	return string(value)
}

// textLike is text, which takes no memory of its own where it is the same as another one,
// such as that of the row before.
func (v *rowValues) textLike(other string) string {
	value, _ := v.next()
	if string(value) == other {
		return other
	}
	return string(value)
}

// bytes are those of a bytea. It comes in binary.
func (v *rowValues) bytes() []byte {
	value, isBinary := v.next()
	if !isBinary {
		v.fail("%q is no bytea in binary", value)
	}
	return bytes.Clone(value)
}

// int is 0 for null.
func (v *rowValues) int() int64 {
	value, isBinary := v.next()
	switch {
	case !isBinary:
		return v.digits(value)
	case len(value) == 8:
		return int64(binary.BigEndian.Uint64(value)) // #nosec G115 -- the bits of an int64
	case len(value) == 4:
		return int64(int32(binary.BigEndian.Uint32(value))) // #nosec G115 -- the bits of an int32
	case value != nil:
		v.fail("a whole number has %d bytes", len(value))
	}
	return 0
}

// digits reads a number as strconv.ParseInt does, of which Postgres never sends any
// that is too large.
func (v *rowValues) digits(text []byte) int64 {
	digits, isNegative := bytes.CutPrefix(text, []byte("-"))
	if len(digits) == 0 && text != nil {
		v.fail("%q is no whole number", text)
	}
	n := int64(0)
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			v.fail("%q is no whole number", text)
			return 0
		}
		n = 10*n - int64(digit-'0') // there is one more below 0 than above
	}
	if isNegative {
		return n
	}
	return -n
}

// intOrNil is nil for null.
func (v *rowValues) intOrNil() *int64 {
	if v.at < len(v.raw) && v.raw[v.at] == nil {
		v.at++
		return nil
	}
	n := v.int()
	return &n
}

// floatOrNil is nil for null.
func (v *rowValues) floatOrNil() *float64 {
	value, isBinary := v.next()
	if value == nil {
		return nil
	}
	if isBinary && len(value) == 8 {
		number := math.Float64frombits(binary.BigEndian.Uint64(value))
		return &number
	}
	number, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		v.fail("reading a number: %w", err)
	}
	return &number
}

// time is zero for null. It comes in binary.
func (v *rowValues) time() time.Time {
	value, isBinary := v.next()
	switch {
	case value == nil:
		return time.Time{}
	case isBinary && len(value) == 8:
		return time.UnixMicro(int64(binary.BigEndian.Uint64(value)) + postgresEpoch).UTC() // #nosec G115 -- the bits of an int64
	}
	v.fail("%q is no time in binary", value)
	return time.Time{}
}

// timeOrNil is nil for null.
func (v *rowValues) timeOrNil() *time.Time { return orNull(v.time()) }
