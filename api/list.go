package api

import (
	"context"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"rapport/api/access"
)

// Rows of a page, unless a reader asks for another number; and at most.
const (
	defaultLimit = 50
	maxLimit     = 1000
)

// page is what lists answer with.
type page[T any] struct {
	Data       []T     `json:"data" nullable:"false" doc:"The rows of this page, in the order of the list."`
	NextCursor *string `json:"next_cursor" doc:"Send it as cursor for the next page; null on the last one."`
	HasMore    bool    `json:"has_more" doc:"Whether there are rows behind this page."`
	Echo

	own ownRows // instead of Data, where the answer is JSON
}

// ownRows are rows of a page that write themselves.
type ownRows interface {
	appendRows(b []byte) []byte
	count() int
}

func (p *page[T]) count() int {
	if p.own != nil {
		return p.own.count()
	}
	return len(p.Data)
}

// newPage is the page of the given rows, which ends the list unless there is a
// next cursor.
func newPage[T, R any](rows []R, show func(*R) T, next string) *answer[page[T]] {
	p := page[T]{Data: make([]T, len(rows))}
	for i := range rows {
		p.Data[i] = show(&rows[i])
	}
	return p.until(next)
}

// until is the answer of a page with a next cursor, if there is one.
func (p *page[T]) until(next string) *answer[page[T]] {
	if next != "" {
		p.NextCursor, p.HasMore = &next, true
	}
	return &answer[page[T]]{Body: *p}
}

// PageParams are those of every list with cursors. (Exported, since huma passes over
// embedded structs that are not.)
//
// A handler finds Limit and Cursor resolved: whatever the format is, it reads one page.
type PageParams struct {
	FormatParams
	Cursor string `query:"cursor" echo:"-" doc:"next_cursor of the page before, with the same filters and sort."`
}

func (p *PageParams) seek(cursor string) { p.Cursor = cursor }

// FormatParams are those of every list.
type FormatParams struct {
	Limit  int    `query:"limit" minimum:"1" doc:"How many rows to answer at most. As JSON up to 1000, by default 50, and it may differ between pages. As CSV or NDJSON any number, by default all rows."`
	Format string `query:"format" enum:"json,csv,ndjson" echo:"-" doc:"In which format to answer, whatever Accept says: json in pages; csv, with a header, or ndjson, a JSON object a line, as one stream of all rows."`
	Accept string `header:"Accept" doc:"application/json, text/csv or application/x-ndjson, where there is no format."`

	rowLimit   int // of a stream; 0: none
	isResolved bool
}

// Resolve is called by huma, once the parameters are read: for the input, and for what
// is embedded in it.
func (p *FormatParams) Resolve(huma.Context) []error {
	if p.isResolved {
		return nil
	}
	p.isResolved = true
	if p.Format == "" {
		format, err := formatOf(p.Accept)
		if err != nil {
			return []error{err}
		}
		p.Format = format
	}
	if p.streams() {
		p.rowLimit, p.Limit = p.Limit, streamPage
		if p.rowLimit > 0 {
			p.Limit = min(p.Limit, p.rowLimit)
		}
		return nil
	}
	if p.Limit > maxLimit {
		return []error{&huma.ErrorDetail{Location: "query.limit", Message: "expected number <= 1000 for JSON; read on with next_cursor, or as csv or ndjson"}}
	}
	if p.Limit == 0 {
		p.Limit = defaultLimit
	}
	return nil
}

// streams reports whether the answer is no page, but all rows.
func (p *FormatParams) streams() bool { return p.Format != formatJSON }

func (p *FormatParams) formatParams() *FormatParams { return p }

// listInput is a pointer to the input of a list. seek makes it ask for the page of a
// next_cursor.
type listInput[I any] interface {
	*I
	formatParams() *FormatParams
	seek(cursor string)
}

// listBody is a pointer to a page, or to what is told like one.
type listBody[B any] interface {
	*B
	rows() *rows
}

// rows are a page as a stream sees it.
type rows struct {
	kind  reflect.Type
	count int
	at    func(i int) any // a pointer to a row
	next  *string         // what seek takes for the next page; nil on the last one
	query resolvedQuery
}

func rowsOf[T any](data []T, next *string, query resolvedQuery) *rows {
	return &rows{reflect.TypeFor[T](), len(data), func(i int) any { return &data[i] }, next, query}
}

func (p *page[T]) rows() *rows { return rowsOf(p.Data, p.NextCursor, p.Query) }

// listOutput is written by itself, for a list is not always JSON.
type listOutput struct {
	Body func(huma.Context)
}

// list registers a GET of a list for those who may read. Its handler reads one page,
// and only depends on its input: JSON is answered with that page, CSV and NDJSON with
// the rows of all pages, for which the handler is called with next_cursor after
// next_cursor.
func list[I, B any, P listInput[I], Q listBody[B]](s *server, op huma.Operation, handle func(context.Context, *I) (*answer[B], error)) {
	listFor[I, B, P, Q](s, access.Read, op, handle)
}

// listFor is list, for those who have a scope.
func listFor[I, B any, P listInput[I], Q listBody[B]](s *server, scope access.Scope, op huma.Operation, handle func(context.Context, *I) (*answer[B], error)) {
	op.Method = http.MethodGet
	row := Q(new(B)).rows().kind
	columns := columnsOf(row)
	describeList(s.api.OpenAPI().Components.Schemas, &op, reflect.TypeFor[B](), row)
	read := func(ctx context.Context, in *I) (*rows, error) {
		ctx, cancel := s.limitTime(ctx, op.Method, scope)
		defer cancel()
		out, err := handle(ctx, in)
		if err != nil {
			return nil, err
		}
		return Q(&out.Body).rows(), nil
	}
	register(s, scope, op, func(ctx context.Context, in *I) (*listOutput, error) {
		asked := *in // a handler may resolve more of its input
		out, err := handle(ctx, in)
		if err != nil {
			return nil, err
		}
		out.echo(in)
		page, params := Q(&out.Body).rows(), P(&asked).formatParams()
		if !params.streams() {
			return &listOutput{func(ctx huma.Context) { writePage(ctx, &out.Body, page.next) }}, nil
		}
		return output(ctx, s, &stream[I, P]{
			name: op.OperationID, asked: asked, params: params, page: page, read: read, columns: columns,
		})
	})
}

// writePage writes a page as JSON. Its cursor may tell of the time, and of nothing
// that a reader of the same rows would miss.
func writePage(ctx huma.Context, body any, nextCursor *string) {
	_, w := humachi.Unwrap(ctx)
	if held, ok := w.(*heldAnswer); ok && nextCursor != nil {
		held.volatile = *nextCursor
	}
	ctx.AppendHeader("Vary", "Accept")
	ctx.SetHeader("Content-Type", "application/json")
	ctx.SetStatus(http.StatusOK)
	_ = writeJSON(w, body) // it fails only if the client is gone
}

// describeList tells the formats of a list.
func describeList(schemas huma.Registry, op *huma.Operation, body, row reflect.Type) {
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A page of the list as JSON, or all rows of it.",
		Headers: map[string]*huma.Param{"X-Query": {
			Description: "For CSV and NDJSON, what is query in JSON.", Schema: &huma.Schema{Type: huma.TypeString},
		}},
		Content: map[string]*huma.MediaType{
			"application/json":     {Schema: schemas.Schema(body, true, op.OperationID+"Response")},
			"application/x-ndjson": {Schema: schemas.Schema(row, true, op.OperationID+"Row")},
			"text/csv":             {Schema: &huma.Schema{Type: huma.TypeString, Description: "A line of names, and a line for each row."}},
		},
	}}
}
