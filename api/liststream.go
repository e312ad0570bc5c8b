package api

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"rapport/api/access"
)

// streamPage is how many rows of a stream are in memory at most. A client has
// streamPatience to take streamChunk bytes of it.
const (
	streamPage     = 1000
	streamChunk    = 64 << 10
	streamPatience = 30 * time.Second
)

// stream is a list on its way out, page after page.
type stream[I any, P listInput[I]] struct {
	name    string
	asked   I             // as it came, which is what each page is asked with
	params  *FormatParams // of it
	page    *rows
	read    func(context.Context, *I) (*rows, error)
	columns []csvColumn
	written int // rows
}

// output is the answer that streams. Streams have seats of their own, for they take as
// long as their clients do: one that is slow keeps no seat from other reads, and no
// connection to the database.
func output[I any, P listInput[I]](ctx context.Context, s *server, st *stream[I, P]) (*listOutput, error) {
	leave, ok := s.streamSeat(ctx)
	if !ok {
		return nil, tryAgain("as many lists are being streamed as the server streams at once; try again")
	}
	return &listOutput{func(ctx huma.Context) {
		defer leave()
		if err := st.write(ctx); err != nil {
			if !errors.Is(err, errClientGone) {
				_ = s.problemOf(ctx.Context(), err) // which logs it
			}
			// That is the one way to tell a client that what it has is not all.
			panic(http.ErrAbortHandler)
		}
	}}, nil
}

func (s *server) streamSeat(ctx context.Context) (leave func(), ok bool) {
	if s.limits.streams == nil {
		return func() {}, true
	}
	return s.limits.streams.take(ctx, access.Of(ctx).Name, seatPatience)
}

// write writes all rows.
func (st *stream[I, P]) write(ctx huma.Context) error {
	r, w := humachi.Unwrap(ctx)
	header := w.Header()
	header.Add("Vary", "Accept")
	header.Set("Content-Type", contentTypeOf(st.params.Format))
	header.Set("X-Query", asciiJSON(st.query()))
	if st.params.Format == formatCSV {
		header.Set("Content-Disposition", `attachment; filename="`+st.name+`.csv"`)
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	return st.writePages(ctx.Context(), w)
}

// query is what the page tells, with the limit that the stream has.
func (st *stream[I, P]) query() resolvedQuery {
	return st.page.query.withLimit(st.params.rowLimit)
}

func (st *stream[I, P]) writePages(ctx context.Context, w http.ResponseWriter) error {
	out := bufio.NewWriterSize(&patientWriter{w}, streamChunk)
	writer := newRowWriter(st.params.Format, out, st.columns)
	control := http.NewResponseController(w)
	for {
		err := elsewhere(ctx, func() error {
			if err := st.writeRows(writer); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return errClientGone
			}
			_ = control.Flush() // a writer that can't has nothing to flush
			if !st.isDone() {
				_ = control.SetWriteDeadline(time.Time{}) // what comes next is our time, not the client's
			}
			return nil
		})
		if err != nil || st.isDone() {
			return err
		}
		if err := st.next(ctx); err != nil {
			return err
		}
	}
}

func (st *stream[I, P]) isDone() bool {
	limit := st.params.rowLimit
	return st.page.next == nil || limit > 0 && st.written >= limit
}

// next reads the next page.
func (st *stream[I, P]) next(ctx context.Context) (err error) {
	in := st.asked
	P(&in).seek(*st.page.next)
	if waits, ok := any(&in).(interface{ waited() }); ok {
		waits.waited()
	}
	if limit := st.params.rowLimit; limit > 0 {
		P(&in).formatParams().Limit = min(streamPage, limit-st.written)
	}
	st.page, err = st.read(ctx, &in)
	return err
}

func (st *stream[I, P]) writeRows(w rowWriter) error {
	for i := range st.page.count {
		if err := w.write(st.page.at(i)); err != nil {
			return err
		}
	}
	st.written += st.page.count
	return w.flush()
}

// errClientGone is no fault of ours.
var errClientGone = errors.New("the client has left, or takes too long")

// patientWriter gives the client a time for each chunk, and not for all, which
// http.Server would: nobody knows how long all takes.
type patientWriter struct{ w http.ResponseWriter }

func (p *patientWriter) Write(data []byte) (int, error) {
	written := 0
	for written < len(data) {
		_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(streamPatience))
		n, err := p.w.Write(data[written:min(len(data), written+streamChunk)])
		written += n
		if err != nil {
			return written, errClientGone
		}
	}
	return written, nil
}

// rowWriter writes the rows of a format. It is told rows by their pointers.
type rowWriter interface {
	write(row any) error
	flush() error
}

func newRowWriter(format string, out io.Writer, columns []csvColumn) rowWriter {
	if format == formatNDJSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		return &ndjsonWriter{out: out, encoder: encoder}
	}
	return &csvWriter{out: csv.NewWriter(out), columns: columns, cells: make([]string, len(columns))}
}

type ndjsonWriter struct {
	out     io.Writer
	encoder *json.Encoder
	line    []byte
}

func (w *ndjsonWriter) write(row any) error {
	quick, ok := row.(quickRow)
	if !ok {
		return w.encoder.Encode(row)
	}
	w.line = append(quick.appendJSON(w.line[:0]), '\n')
	_, err := w.out.Write(w.line)
	return err
}

func (*ndjsonWriter) flush() error { return nil }
