package deliver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// quiet is a logger for River: it tells of warnings and worse, and of what lasts (the
// database is away, say) from time to time only. How deliveries go is told by others.
func quiet(logger *slog.Logger) *slog.Logger {
	return slog.New(&quietHandler{Handler: logger.Handler(), seen: new(sync.Map)})
}

type quietHandler struct {
	slog.Handler
	seen *sync.Map // *rate.Sometimes by message
}

// sayAgain is how often one message is repeated.
const sayAgain = time.Minute

func (h *quietHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h *quietHandler) Handle(ctx context.Context, record slog.Record) (err error) {
	seen, _ := h.seen.LoadOrStore(record.Message, &rate.Sometimes{First: 2, Interval: sayAgain})
	seen.(*rate.Sometimes).Do(func() { err = h.Handler.Handle(ctx, record) })
	return err
}

func (h *quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &quietHandler{h.Handler.WithAttrs(attrs), h.seen}
}

func (h *quietHandler) WithGroup(name string) slog.Handler {
	return &quietHandler{h.Handler.WithGroup(name), h.seen}
}
