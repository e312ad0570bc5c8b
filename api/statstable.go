package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"rapport/api/access"
)

// statRow is a row of a table of statistics: what it is of, and its metrics, side by side
// in one flat object. K is a struct.
type statRow[K any] struct {
	of K
	statNumbers
}

// MarshalJSON writes the fields of K, and then the metrics.
func (r statRow[K]) MarshalJSON() ([]byte, error) { return r.appendJSON(nil), nil }

// Schema describes it to huma.
func (statRow[K]) Schema(r huma.Registry) *huma.Schema {
	row := huma.SchemaFromType(r, reflect.TypeFor[K]())
	for name, property := range metricProperties() {
		row.Properties[name] = property
	}
	return row
}

// cells are the row in CSV.
func (r *statRow[K]) cells() ([]string, error) {
	cells, err := cellsOf(&r.of)
	if err != nil {
		return nil, err
	}
	for i := range r.numbers {
		cell, err := cellOf(reflect.ValueOf(&r.numbers[i]).Elem())
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	return cells, nil
}

// cellsOf are the fields of a struct in CSV.
func cellsOf[K any](of *K) ([]string, error) {
	var cells []string
	value := reflect.ValueOf(of).Elem()
	for _, c := range columnsOf(value.Type()) {
		cell, err := cellOf(value.FieldByIndex(c.index))
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	return cells, nil
}

// statTable is a table of statistics as CSV and NDJSON have it: the names of its
// columns, and its rows, which NDJSON shows as JSON does.
type statTable struct {
	names []string
	rows  []tableRow
}

type tableRow interface {
	cells() ([]string, error)
}

// tableOf is the table of rows that have the fields of K, and metrics.
func tableOf[K any](of []metric, rows []statRow[K]) *statTable {
	t := &statTable{names: namesOfColumns[K]()}
	for _, m := range of {
		t.names = append(t.names, m.Name)
	}
	for i := range rows {
		t.rows = append(t.rows, &rows[i])
	}
	return t
}

func namesOfColumns[K any]() []string {
	var names []string
	for _, c := range columnsOf(reflect.TypeFor[K]()) {
		names = append(names, c.name)
	}
	return names
}

func (t *statTable) writeCSV(w *csv.Writer) error {
	if err := w.Write(t.names); err != nil {
		return err
	}
	for _, row := range t.rows {
		cells, err := row.cells()
		if err != nil {
			return err
		}
		if err := w.Write(cells); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// TableParams are those of a table that is answered whole. (Exported, since huma passes
// over embedded structs that are not.)
type TableParams struct {
	Format string `query:"format" enum:"json,csv,ndjson" echo:"-" doc:"In which format to answer, whatever Accept says: json; csv, with a header; or ndjson, a JSON object a line."`
	Accept string `header:"Accept" doc:"application/json, text/csv or application/x-ndjson, where there is no format."`
}

// Resolve is called by huma, once the parameters are read.
func (p *TableParams) Resolve(huma.Context) []error {
	if p.Format != "" {
		return nil
	}
	format, err := formatOf(p.Accept)
	if err != nil {
		return []error{err}
	}
	p.Format = format
	return nil
}

func (p *TableParams) format() string { return p.Format }

// tableInput is a pointer to the input of a table, which embeds TableParams.
type tableInput[I any] interface {
	*I
	format() string
}

// tableBody is the body of a table as JSON, which has more than the rows.
type tableBody interface {
	table() *statTable
}

// table registers a GET of a table of statistics for those who may read: JSON is the
// body, CSV and NDJSON are its rows, of type R.
func table[R, I any, B tableBody, P tableInput[I]](s *server, op huma.Operation, handle func(context.Context, *I) (*answer[B], error)) {
	op.Method = http.MethodGet
	describeTable[R, B](s.api.OpenAPI().Components.Schemas, &op)
	register(s, access.Read, op, func(ctx context.Context, in *I) (*listOutput, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, err
		}
		out.echo(in)
		return &listOutput{func(ctx huma.Context) {
			if format := P(in).format(); format != formatJSON {
				writeTable(ctx, op.OperationID, format, out.Body.table(), resolvedQueryOf(in))
				return
			}
			ctx.AppendHeader("Vary", "Accept")
			ctx.SetHeader("Content-Type", contentTypeOf(formatJSON))
			ctx.SetStatus(http.StatusOK)
			_ = writeJSON(ctx.BodyWriter(), &out.Body) // it fails only if the client is gone
		}}, nil
	})
}

// writeTable writes the rows of a table, which are in memory already.
func writeTable(ctx huma.Context, name, format string, t *statTable, query resolvedQuery) {
	_, w := humachi.Unwrap(ctx)
	header := w.Header()
	header.Add("Vary", "Accept")
	header.Set("Content-Type", contentTypeOf(format))
	header.Set("X-Query", asciiJSON(query))
	if format == formatCSV {
		header.Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
		w.WriteHeader(http.StatusOK)
		_ = t.writeCSV(csv.NewWriter(w))
		return
	}
	w.WriteHeader(http.StatusOK)
	encoder := json.NewEncoder(w)
	for _, row := range t.rows {
		if encoder.Encode(row) != nil {
			return // the client is gone
		}
	}
}

// describeTable tells the formats of a table.
func describeTable[R, B any](schemas huma.Registry, op *huma.Operation) {
	row := schemas.Schema(reflect.TypeFor[R](), true, op.OperationID+"Row")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "All of it as JSON, or its rows.",
		Headers: map[string]*huma.Param{"X-Query": {
			Description: "For CSV and NDJSON, what is query in JSON.", Schema: &huma.Schema{Type: huma.TypeString},
		}},
		Content: map[string]*huma.MediaType{
			"application/json":     {Schema: schemas.Schema(reflect.TypeFor[B](), true, op.OperationID+"Response")},
			"application/x-ndjson": {Schema: row},
			"text/csv":             {Schema: &huma.Schema{Type: huma.TypeString, Description: "A line of names, and a line for each row."}},
		},
	}}
}
