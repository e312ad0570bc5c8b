package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// registerDeadLetterDeletion is for deliveries alone: an event stays in the log.
func (s *server) registerDeadLetterDeletion() {
	change(s, huma.Operation{
		OperationID: "delete-dead-letter", Method: http.MethodDelete, Path: "/dead-letters/{id}", Tags: []string{"operating"},
		Summary:     "Delete a dead delivery",
		Description: "It is never tried again. An event that is a dead letter can't be deleted: it can be tried again, or its session erased.",
	}, s.deleteDeadLetter)
	change(s, huma.Operation{
		OperationID: "delete-dead-letters", Method: http.MethodDelete, Path: "/dead-letters", Tags: []string{"operating"},
		Summary:     "Delete all dead deliveries",
		Description: "They are never tried again. Events that are dead letters stay.",
	}, s.deleteDeadLetters)
}

type deletedDead struct {
	Deleted int64 `json:"deleted" doc:"How many dead deliveries were deleted."`
}

func (s *server) deleteDeadLetter(ctx context.Context, in *deadLetterInput) (*answer[deletedDead], error) {
	if in.ID.kind != deadDelivery {
		return nil, newProblem(http.StatusNotFound, "there is no dead delivery of this id, and nothing else can be deleted: an event can be tried again")
	}
	found, err := s.DB.DeleteDeadDeliveries(ctx, []int64{in.ID.number}, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, newProblem(http.StatusNotFound, "there is no dead delivery of this id")
	}
	return &answer[deletedDead]{Body: deletedDead{int64(len(found))}}, nil
}

func (s *server) deleteDeadLetters(ctx context.Context, _ *struct{}) (*answer[deletedDead], error) {
	n, err := s.DB.DeleteAllDeadDeliveries(ctx, actorOf(ctx))
	if err != nil {
		return nil, err
	}
	return &answer[deletedDead]{Body: deletedDead{n}}, nil
}
