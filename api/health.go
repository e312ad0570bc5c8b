package api

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport/store"
)

// readyWithin is for how long the database may take before readiness fails.
const readyWithin = time.Second

// The words of the status fields.
const (
	healthOK          = "ok"
	healthUnavailable = "unavailable"
	healthDraining    = "draining"
	healthUnreachable = "unreachable"
	healthOld         = "old"
	healthNew         = "new"
	healthLate        = "late"
	healthUnknown     = "unknown"
	healthInUse       = "in_use"
	healthFull        = "full"
	healthOff         = "off"
)

func (s *server) registerHealth() {
	open := []map[string][]string{{}} // needs no token
	register(s, anyone, huma.Operation{
		OperationID: "get-health", Method: http.MethodGet, Path: "/healthz", Tags: []string{"operating"}, Security: open,
		Summary: "Is the process alive?",
	}, s.health)
	register(s, anyone, huma.Operation{
		OperationID: "get-readiness", Method: http.MethodGet, Path: "/readyz", Tags: []string{"operating"}, Security: open,
		Summary: "Can a delivery be kept?",
		Responses: map[string]*huma.Response{
			"503": jsonOf("It can't.", s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[readiness](), true, "")),
		},
		Description: "200 if it can, else 503 with the same body. For reads, strictly: the schema must be current and the rollups not late.",
	}, s.readiness)
}

type health struct {
	Status string `json:"status" enum:"ok" doc:"Always ok."`
}

func (s *server) health(context.Context, *struct{}) (*answer[health], error) {
	return &answer[health]{Body: health{Status: healthOK}}, nil
}

type readinessInput struct {
	For string `query:"for" enum:"reads" doc:"reads: be strict about what reads need."`
}

// readiness is told without a token, so it says how things are and not why.
type readiness struct {
	Status     string         `json:"status" enum:"ok,unavailable,draining" doc:"ok: a delivery can be kept; draining: the server is about to end."`
	Database   databaseHealth `json:"database" doc:"Whether the database answers."`
	Migrations schemaHealth   `json:"migrations" doc:"Whether the schema is the right one."`
	Lag        lagHealth      `json:"lag" doc:"How far the rollups are behind the log."`
	Spool      spoolHealth    `json:"spool" doc:"What waits on disk for the database."`
}

type databaseHealth struct {
	Status string `json:"status" enum:"ok,unreachable" doc:"unreachable: it didn't answer within a second."`
}

type schemaHealth struct {
	Status string `json:"status" enum:"ok,old,new,unknown" doc:"The schema, compared with what this binary was made for."`
}

type lagHealth struct {
	Status           string       `json:"status" enum:"ok,late,unknown" doc:"Of the rollups behind the log."`
	LogHead          *int64       `json:"log_head" doc:"Position of the last event."`
	FollowerPosition *int64       `json:"follower_position" doc:"The rollups contain everything up to here."`
	LagEvents        *int64       `json:"lag_events" minimum:"0" doc:"Events that the rollups lack."`
	LagSeconds       *thousandths `json:"lag_seconds" nullable:"true" doc:"Since the oldest event that the rollups lack was received."`
	AlarmS           thousandths  `json:"alarm_s" doc:"From so many seconds of lag on, the status is late."`
}

type spoolHealth struct {
	Status   string      `json:"status" enum:"ok,in_use,full,off" doc:"in_use: the database can't keep deliveries, so they go to the spool; full: the spool can't keep more."`
	Records  int64       `json:"records" doc:"Deliveries that wait for the database."`
	Bytes    int64       `json:"bytes" minimum:"0" doc:"How much they take on disk, in bytes."`
	AgeS     thousandths `json:"age_s" doc:"Seconds since the oldest of them was kept; 0 if there is none."`
	Damaged  int         `json:"damaged_segments" doc:"Segments that were set aside since they are damaged."`
	Open     bool        `json:"open" doc:"Deliveries go to the spool at once: the database can't keep them."`
	OpenForS thousandths `json:"open_for_s" doc:"Seconds since that is so; 0 if it isn't."`
}

func (h *spoolHealth) canKeep() bool { return h.Status == healthOK || h.Status == healthInUse }

type readinessOutput struct {
	Status int
	Body   readiness
}

func (s *server) readiness(ctx context.Context, in *readinessInput) (*readinessOutput, error) {
	body := s.glance(ctx)
	// Where the circuit is open the database answers, perhaps, but keeps nothing.
	ready := body.Database.Status == healthOK && !body.Spool.Open || body.Spool.canKeep()
	if in.For == "reads" {
		ready = body.Database.Status == healthOK && body.Migrations.Status == healthOK && body.Lag.Status == healthOK
	}
	switch {
	case s.Draining.Load():
		body.Status = healthDraining
	case !ready:
		body.Status = healthUnavailable
	default:
		return &readinessOutput{http.StatusOK, body}, nil
	}
	return &readinessOutput{http.StatusServiceUnavailable, body}, nil
}

// unknown is how things are as long as the database has told nothing.
func (s *server) unknown() readiness {
	return readiness{
		Status:     healthOK,
		Database:   databaseHealth{healthUnreachable},
		Migrations: schemaHealth{healthUnknown},
		Lag:        lagHealth{Status: healthUnknown, AlarmS: thousandths(s.LagAlarm.Milliseconds())},
	}
}

// look asks the database how things are.
func (s *server) look(ctx context.Context) readiness {
	r := s.unknown()
	if s.DB.Ping(ctx) != nil {
		return r
	}
	r.Database.Status = healthOK
	r.Migrations.Status = schemaStatus(s.DB.CheckSchema(ctx))
	lag, err := s.DB.FollowerLag(ctx, store.SessionsFollower, s.now())
	if err != nil {
		return r
	}
	r.Lag.Status, r.Lag.LogHead, r.Lag.FollowerPosition, r.Lag.LagEvents = healthOK, &lag.Head, &lag.Position, &lag.Events
	r.Lag.LagSeconds = new(thousandths(lag.Age.Milliseconds()))
	if lag.Age >= s.LagAlarm {
		r.Lag.Status = healthLate
	}
	return r
}

func (s *server) lookAtSpool() spoolHealth {
	status := s.Ingest.Status()
	h := spoolHealth{
		Status: healthOK, Records: status.Waiting.Records, Bytes: status.Waiting.Bytes, Damaged: status.Waiting.Damaged,
		AgeS:     thousandths(ageOf(status.Waiting.OldestAt, s.now()).Milliseconds()),
		Open:     !status.OpenSince.IsZero(),
		OpenForS: thousandths(ageOf(status.OpenSince, time.Now()).Milliseconds()),
	}
	switch {
	case !status.Enabled:
		h.Status = healthOff
	case status.Room != nil:
		h.Status = healthFull
	case h.Open:
		h.Status = healthInUse
	}
	return h
}

func schemaStatus(err error) string {
	switch {
	case err == nil:
		return healthOK
	case errors.Is(err, store.ErrSchemaOld):
		return healthOld
	case errors.Is(err, store.ErrSchemaNew):
		return healthNew
	}
	return healthUnknown
}
