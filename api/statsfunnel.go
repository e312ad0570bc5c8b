package api

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"rapport"
)

func (s *server) registerFunnel() {
	table[step](s, huma.Operation{
		OperationID: "get-funnel", Path: "/stats/funnel", Tags: []string{tagStatistics},
		Summary: "How far sessions get: joined, first message, second turn, deep",
		Description: statsMeaning + " Each step includes the later ones. Every session counts as joined, for somebody was there: " +
			"a room.join may not have been told, and a session may begin with a message.",
	}, s.funnel)
}

type funnelInput struct {
	StatsParams
	TableParams
}

// step is a step of the funnel.
type step struct {
	Step            string `json:"step" enum:"joined,first_message,second_turn,deep" doc:"joined is every session, first_message has a user message, second_turn two turns or more, deep four or more."`
	Sessions        int64  `json:"sessions" doc:"Sessions that got there."`
	ShareOfFirst    figure `json:"share_of_first" doc:"Of those of the first step, 0 to 1; null if it has none."`
	ShareOfPrevious figure `json:"share_of_previous" doc:"Of those of the step before, 0 to 1; null if it has none. Of the first step, of itself."`
}

// Schema describes it to huma, where a column may be any number.
func (figure) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeNumber, Nullable: true}
}

type funnelBody struct {
	Data []step `json:"data" nullable:"false" doc:"The steps, in order."`
	Echo
}

func (b funnelBody) table() *statTable {
	t := &statTable{names: namesOfColumns[step]()}
	for i := range b.Data {
		t.rows = append(t.rows, &b.Data[i])
	}
	return t
}

func (s *step) cells() ([]string, error) { return cellsOf(s) }

func (s *server) funnel(ctx context.Context, in *funnelInput) (*answer[funnelBody], error) {
	filter, err := in.resolve(ctx, s.now())
	if err != nil {
		return nil, err
	}
	if err := s.wait(ctx, in.ReadParams); err != nil {
		return nil, err
	}
	totals, err := s.totals(ctx, filter, []time.Time{in.from(), in.to()})
	if err != nil {
		return nil, err
	}
	return &answer[funnelBody]{Body: funnelBody{Data: funnelOf(&totals[0])}}, nil
}

func funnelOf(t *rapport.Totals) []step {
	steps := []step{
		{Step: "joined", Sessions: t.Sessions}, {Step: "first_message", Sessions: t.Talked()},
		{Step: "second_turn", Sessions: t.Returned()}, {Step: "deep", Sessions: t.Deep},
	}
	for i := range steps {
		steps[i].ShareOfFirst = quotient(steps[i].Sessions, steps[0].Sessions, rapport.ShareDecimals)
		steps[i].ShareOfPrevious = quotient(steps[i].Sessions, steps[max(0, i-1)].Sessions, rapport.ShareDecimals)
	}
	return steps
}
