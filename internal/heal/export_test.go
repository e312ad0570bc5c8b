package heal

import (
	"context"
	"time"
)

// SetPause replaces the waiting between tries.
func (r *Record) SetPause(pause func(context.Context, time.Duration) error) { r.pause = pause }
