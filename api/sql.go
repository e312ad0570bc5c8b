package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"rapport/api/access"
	"rapport/store"
)

// Answers to statements are in memory until the client has them: so many at once, and
// so many of one key.
const (
	sqlAnswers      = 8
	sqlAnswersOfKey = 3
)

func (s *server) registerSQL() {
	s.sqlAnswers = newShares(sqlAnswers, sqlAnswersOfKey)
	op := huma.Operation{
		OperationID: "run-sql", Method: http.MethodPost, Path: "/sql", Tags: []string{"sql"},
		Summary: "Run a statement of your own",
		Description: "One statement that reads the tables of the schema analytics, for which no prefix is needed; docs/sql.md describes them. " +
			"It is recorded in the audit.",
	}
	describeSQL(s.api.OpenAPI().Components.Schemas, &op)
	register(s, access.SQL, op, s.runSQL)
}

type sqlInput struct {
	Format string `query:"format" enum:"json,csv,ndjson" doc:"In which format to answer, whatever Accept says: json, csv with a header, or ndjson, a JSON object a line."`
	Accept string `header:"Accept" doc:"application/json, text/csv or application/x-ndjson, where there is no format."`
	Body   sqlBody
}

type sqlBody struct {
	_         struct{}          `json:"-" additionalProperties:"false"`
	Query     string            `json:"query" minLength:"1" doc:"One statement that returns rows." example:"SELECT engagement_tier, count(*) FROM sessions WHERE started_at >= $1 GROUP BY 1"`
	Params    []json.RawMessage `json:"params,omitempty" nullable:"true" maxItems:"1000" doc:"The values of $1, $2 and so on: numbers, strings, booleans, null, and arrays of them; any JSON where the parameter is json or jsonb." example:"[\"2026-01-01T00:00:00Z\"]"`
	TimeoutMS int               `json:"timeout_ms,omitempty" minimum:"1" maximum:"60000" default:"10000" doc:"For how long it may run, in milliseconds."`
	Limit     int               `json:"limit,omitempty" minimum:"1" maximum:"50000" default:"1000" doc:"How many rows to answer at most. All of them have 16 MiB at most."`
}

// Resolve is called by huma, once the parameters are read.
func (in *sqlInput) Resolve(huma.Context) []error {
	if in.Format != "" {
		return nil
	}
	var err error
	if in.Format, err = formatOf(in.Accept); err != nil {
		return []error{err}
	}
	return nil
}

func (s *server) runSQL(ctx context.Context, in *sqlInput) (*listOutput, error) {
	if s.Sandbox == nil {
		return nil, newProblem(http.StatusNotImplemented, "this server has no login for SQL: set RAPPORT_SQL_DATABASE_URL, see rapport db roles")
	}
	leave, ok := s.sqlAnswers.take(ctx, access.Of(ctx).Name, seatPatience)
	if !ok {
		return nil, s.sqlBusy()
	}
	statement := store.Statement{
		Query: in.Body.Query, Params: in.Body.Params, Limit: in.Body.Limit, Timeout: time.Duration(in.Body.TimeoutMS) * time.Millisecond,
	}
	var answer *store.Answer
	err := withoutSeat(ctx, func() (err error) {
		answer, err = s.audited(ctx, statement)
		return err
	})
	if err != nil {
		leave()
		return nil, s.sqlProblem(ctx, err)
	}
	return &listOutput{func(ctx huma.Context) {
		defer leave()
		writeSQLAnswer(ctx, in.Format, answer)
	}}, nil
}

// audited runs a statement and records it. What can't be recorded is not shown.
func (s *server) audited(ctx context.Context, statement store.Statement) (*store.Answer, error) {
	started := time.Now()
	answer, err := s.Sandbox.Run(ctx, statement)
	recording, stop := context.WithTimeout(context.WithoutCancel(ctx), auditPatience) // who asked may have left
	defer stop()
	if failed := s.DB.AuditStatement(recording, actorOf(ctx), statement, answer, err, time.Since(started)); failed != nil {
		if err != nil { // which the client is to be told
			s.Logger.Error("a statement could not be recorded in the audit", "request_id", requestIDOf(ctx), "error", failed)
			return nil, err
		}
		return nil, failed
	}
	return answer, err
}

// auditPatience is for how long a statement that was run waits to be recorded.
const auditPatience = 5 * time.Second

func (s *server) sqlBusy() *problem {
	s.Metrics.limited.WithLabelValues("sql").Inc()
	return tryAgain(store.ErrSandboxBusy.Error())
}

// sqlProblem tells who wrote a statement what is wrong with it, and nobody more than that.
func (s *server) sqlProblem(ctx context.Context, err error) error {
	if wrong, ok := errors.AsType[*store.StatementError](err); ok {
		return statementProblem(wrong)
	}
	switch {
	case errors.Is(err, store.ErrStatementTimeout):
		p := newProblem(http.StatusGatewayTimeout, "the statement took longer than timeout_ms: select less, or allow it more, up to 60000")
		p.SQLState = store.QueryCanceled
		return p
	case errors.Is(err, store.ErrSandboxBusy):
		return s.sqlBusy()
	case errors.Is(err, store.ErrSandboxUnsafe):
		s.Logger.Error("no statement is run", "request_id", requestIDOf(ctx), "error", err)
		return newProblem(http.StatusNotImplemented, "this server's login for SQL is not as it must be; its log says more under this request_id, and so does rapport doctor")
	}
	return err
}

// maxStatementProblem is how much of what Postgres says is repeated, in bytes: it may
// have put the whole of a value into it.
const maxStatementProblem = 2000

func statementProblem(wrong *store.StatementError) *problem {
	status := http.StatusBadRequest
	if wrong.SQLState == store.QueryCanceled { // by an administrator, or a limit of the login
		status = http.StatusGatewayTimeout
	}
	detail := wrong.Message
	if wrong.Detail != "" {
		detail += ": " + wrong.Detail
	}
	p := newProblem(status, shortened(detail))
	p.SQLState, p.Position, p.Hint = wrong.SQLState, wrong.Position, shortened(wrong.Hint)
	return p
}

func shortened(text string) string {
	if len(text) <= maxStatementProblem {
		return text
	}
	end := maxStatementProblem
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// sqlAnswer describes the answer as JSON, which is written by hand.
type sqlAnswer struct {
	Columns   []sqlColumn `json:"columns" nullable:"false" doc:"The columns, in order. Names may occur more than once."`
	Rows      [][]any     `json:"rows" nullable:"false" doc:"The rows, with a value for each column: numbers to the digit (NaN and the infinities as strings), booleans, null, json as it is, arrays as arrays, timestamps as in RFC 3339, in UTC where they have a zone; anything else as the string that Postgres has for it."`
	RowCount  int         `json:"row_count" minimum:"0" doc:"How many rows these are."`
	Truncated bool        `json:"truncated" doc:"Whether the statement has more rows."`
	ElapsedMS float64     `json:"elapsed_ms" minimum:"0" doc:"For how long the statement ran, in milliseconds."`
}

type sqlColumn struct {
	Name string `json:"name" doc:"Its name." example:"engagement_tier"`
	Type string `json:"type" doc:"Its type, as Postgres names it." example:"text"`
}

func describeSQL(schemas huma.Registry, op *huma.Operation) {
	answer := schemas.Schema(reflect.TypeFor[sqlAnswer](), true, "RunSqlResponse")
	number := &huma.Schema{Type: huma.TypeInteger, Minimum: new(0.0)}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The rows.",
		Headers: map[string]*huma.Param{
			"X-Row-Count": {Description: "row_count of the JSON.", Schema: number},
			"X-Truncated": {Description: "truncated of the JSON.", Schema: &huma.Schema{Type: huma.TypeBoolean}},
		},
		Content: map[string]*huma.MediaType{
			"application/json":     {Schema: answer},
			"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeObject, Description: "A row; a name that occurs again has _2, _3 and so on behind it."}},
			"text/csv":             {Schema: &huma.Schema{Type: huma.TypeString, Description: "A line of names, and a line for each row."}},
		},
	}}
	problems := schemas.Schema(reflect.TypeFor[problem](), true, "")
	for status, description := range map[string]string{
		"400": "The statement is wrong: sqlstate, position and hint say how.",
		"501": "The server has no login for SQL, or one that may do more than it must.",
		"503": "As many statements are running as may at once, or the database is away.",
		"504": "The statement took longer than it may.",
	} {
		op.Responses[status] = problemResponse(description, problems)
	}
}
