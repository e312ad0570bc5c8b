package heal

import (
	"context"
	"log/slog"
	"time"
)

// Service heals now and then, beside a server.
type Service struct {
	Healer *Healer
	Every  time.Duration // from the end of one run to the begin of the next
	Logger *slog.Logger
}

// Run heals at once, and then every so often, until the context ends. Then it
// returns nil: a run that fails is logged, and the next one comes all the same.
func (s *Service) Run(ctx context.Context) error {
	for {
		report, err := s.Healer.Run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.log(&report, err)
		if pause(ctx, s.Every) != nil {
			return nil
		}
	}
}

func (s *Service) log(r *Report, err error) {
	if err == nil {
		err = r.Err()
	}
	counts := []any{
		"sessions", r.Sessions, "passed", r.Passed, "unsettled", r.Unsettled, "failed", r.Failed,
		"messages", r.Messages, "present", r.Present, "healed", r.Healed, "skipped", r.Skipped,
	}
	if err != nil {
		s.Logger.Error("healing failed, at least in part, trying again later", append(counts, "error", err)...)
	} else {
		s.Logger.Info("healed the log from the sender's record", counts...)
	}
	if r.Cut {
		s.Logger.Warn("older sessions may be missing from healing, since the record listed as many as it was asked for",
			"sessions", r.Sessions)
	}
}
