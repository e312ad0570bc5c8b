package transfer

import (
	"bufio"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
)

// The formats of an export.
const (
	Parquet = "parquet"
	CSV     = "csv"
	NDJSON  = "ndjson"
)

// writer writes rows in a format. Nothing is complete before close.
type writer[T any] interface {
	write(rows []T) error
	close() error
}

func newWriter[T any](format string, w io.Writer) (writer[T], error) {
	switch format {
	case Parquet:
		return newParquetWriter[T](w), nil
	case CSV:
		return newCSVWriter[T](w)
	case NDJSON:
		return newNDJSONWriter[T](w), nil
	}
	return nil, fmt.Errorf("there is no format %q: use %s, %s or %s", format, Parquet, CSV, NDJSON)
}

// parquetWriter gathers a row group in memory before it is written.
type parquetWriter[T any] struct {
	out     *parquet.GenericWriter[T]
	rows    int   // of the row group
	written int64 // bytes before it
}

// A row group ends with so many rows, or bytes, for memory.
const (
	groupRows  = 100_000
	groupBytes = 32 << 20
)

func newParquetWriter[T any](w io.Writer) *parquetWriter[T] {
	return &parquetWriter[T]{out: parquet.NewGenericWriter[T](w,
		parquet.Compression(&parquet.Zstd), parquet.CreatedBy("rapport", "1", "0"))}
}

func (p *parquetWriter[T]) write(rows []T) error {
	if _, err := p.out.Write(rows); err != nil {
		return err
	}
	if p.rows += len(rows); p.rows < groupRows && p.out.Size()-p.written < groupBytes {
		return nil
	}
	if err := p.out.Flush(); err != nil {
		return err
	}
	p.rows, p.written = 0, p.out.Size()
	return nil
}

func (p *parquetWriter[T]) close() error { return p.out.Close() }

type ndjsonWriter[T any] struct {
	buffer  *bufio.Writer
	encoder *json.Encoder
}

func newNDJSONWriter[T any](w io.Writer) *ndjsonWriter[T] {
	buffer := bufio.NewWriterSize(w, 1<<16)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	return &ndjsonWriter[T]{buffer, encoder}
}

func (n *ndjsonWriter[T]) write(rows []T) error {
	for i := range rows {
		if err := n.encoder.Encode(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}

func (n *ndjsonWriter[T]) close() error { return n.buffer.Flush() }

// csvWriter writes RFC 4180 with a header. Null is an empty cell, bytes are base64.
type csvWriter[T any] struct {
	out   *csv.Writer
	cells []string
}

func newCSVWriter[T any](w io.Writer) (*csvWriter[T], error) {
	row := reflect.TypeFor[T]()
	c := &csvWriter[T]{out: csv.NewWriter(w), cells: make([]string, row.NumField())}
	for i := range c.cells {
		c.cells[i], _, _ = strings.Cut(row.Field(i).Tag.Get("json"), ",")
	}
	return c, c.out.Write(c.cells)
}

func (c *csvWriter[T]) write(rows []T) error {
	for i := range rows {
		row := reflect.ValueOf(&rows[i]).Elem()
		for j := range c.cells {
			c.cells[j] = cell(row.Field(j))
		}
		if err := c.out.Write(c.cells); err != nil {
			return err
		}
	}
	return nil
}

func (c *csvWriter[T]) close() error {
	c.out.Flush()
	return c.out.Error()
}

func cell(value reflect.Value) string {
	if value.Kind() == reflect.Pointer {
		if value.IsNil() {
			return ""
		}
		value = value.Elem()
	}
	switch v := value.Interface().(type) {
	case string:
		return v
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case json.RawMessage:
		return string(v)
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return fmt.Sprint(v)
	}
}
