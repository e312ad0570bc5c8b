package api

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"rapport/store"
)

// writeSQLAnswer answers with rows. What can't be written to its end is cut off.
func writeSQLAnswer(ctx huma.Context, format string, answer *store.Answer) {
	_, w := humachi.Unwrap(ctx)
	header := w.Header()
	header.Add("Vary", "Accept")
	header.Set("Content-Type", contentTypeOf(format))
	header.Set("X-Row-Count", strconv.Itoa(answer.RowCount))
	header.Set("X-Truncated", strconv.FormatBool(answer.Truncated))
	w.WriteHeader(http.StatusOK)
	err := elsewhere(ctx.Context(), func() error {
		out := bufio.NewWriterSize(&patientWriter{w}, streamChunk)
		if err := WriteAnswer(out, format, answer); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// WriteAnswer writes the rows of a statement as json, csv or ndjson.
func WriteAnswer(out *bufio.Writer, format string, answer *store.Answer) error {
	switch format {
	case formatJSON:
		return writeAnswerJSON(out, answer)
	case formatCSV:
		return writeAnswerCSV(out, answer)
	case formatNDJSON:
		return writeAnswerNDJSON(out, answer)
	}
	return fmt.Errorf("there is no format %q: there are json, csv and ndjson", format)
}

// writeAnswerJSON writes sqlAnswer, a row a line.
func writeAnswerJSON(out *bufio.Writer, answer *store.Answer) error {
	columns := make([]sqlColumn, len(answer.Columns))
	for i, c := range answer.Columns {
		columns[i] = sqlColumn{c.Name, c.Type}
	}
	head, err := json.Marshal(columns)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, `{"columns":%s,"rows":[`, head) // an error stays with out
	var line []byte
	for row := range answer.Rows() {
		if line != nil {
			_ = out.WriteByte(',')
		}
		line = append(line[:0], "\n["...)
		for i, value := range row {
			if i > 0 {
				line = append(line, ',')
			}
			line = answer.Columns[i].AppendJSON(line, value)
		}
		if _, err := out.Write(append(line, ']')); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "],\n\"row_count\":%d,\"truncated\":%t,\"elapsed_ms\":%v}\n", answer.RowCount, answer.Truncated, millis(answer.Elapsed))
	return err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// writeAnswerCSV writes as the lists do: RFC 4180, null is empty, and no text is a
// formula.
func writeAnswerCSV(out io.Writer, answer *store.Answer) error {
	w := csv.NewWriter(out)
	cells := make([]string, len(answer.Columns))
	for i, c := range answer.Columns {
		cells[i] = harmless(c.Name)
	}
	if err := w.Write(cells); err != nil {
		return err
	}
	var text []byte
	for row := range answer.Rows() {
		for i, value := range row {
			c := &answer.Columns[i]
			cells[i] = ""
			if value != nil {
				text = c.AppendText(text[:0], value)
				cells[i] = string(text)
			}
			if c.IsText() {
				cells[i] = harmless(cells[i])
			}
		}
		if err := w.Write(cells); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// writeAnswerNDJSON writes an object a line.
func writeAnswerNDJSON(out io.Writer, answer *store.Answer) error {
	keys, err := objectKeys(answer.Columns)
	if err != nil {
		return err
	}
	var line []byte
	for row := range answer.Rows() {
		line = append(line[:0], '{')
		for i, value := range row {
			line = append(line, keys[i]...)
			line = answer.Columns[i].AppendJSON(line, value)
		}
		if _, err := out.Write(append(line, "}\n"...)); err != nil {
			return err
		}
	}
	return nil
}

// objectKeys are the names of columns as JSON, each with what stands around it. A name
// that occurs again gets a number that makes it one that no column has.
func objectKeys(columns []store.SQLColumn) ([]string, error) {
	names := make(map[string]bool, len(columns))
	for _, c := range columns {
		names[c.Name] = true
	}
	keys, used := make([]string, len(columns)), make(map[string]bool, len(columns))
	for i, c := range columns {
		name := c.Name
		for n := 2; used[name]; n++ {
			if numbered := fmt.Sprintf("%s_%d", c.Name, n); !names[numbered] && !used[numbered] {
				name = numbered
			}
		}
		used[name] = true
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		keys[i] = string(quoted) + ":"
		if i > 0 {
			keys[i] = "," + keys[i]
		}
	}
	return keys, nil
}
