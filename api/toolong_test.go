package api

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestAReadThatTakesTooLongSaysHowToAskForLess(t *testing.T) {
	t.Parallel()
	s := &server{Config: Config{Logger: slog.New(slog.DiscardHandler)}}
	p := s.problemOf(t.Context(), fmt.Errorf("listing sessions: %w", &pgconn.PgError{Code: "57014"}))
	if p.Status != http.StatusGatewayTimeout || !strings.Contains(p.Detail, "ask for less") {
		t.Errorf("%d %s", p.Status, p.Detail)
	}
}
