package main

import (
	"errors"
	"os"
	"runtime/debug"

	"rapport/api"
)

// liveFlags bound what GET /live takes.
type liveFlags struct {
	MaxLive       int `default:"5000" placeholder:"N" help:"Live streams (GET /live) that are open at once; further ones are answered 503; 0: any number. Each is one of --max-connections. Default: ${default}."`
	MaxLivePerKey int `default:"1000" placeholder:"N" help:"Live streams that one API key may have open at once, other than --api-token; further ones are answered 429; 0: any number. Default: ${default}."`
}

func (f *liveFlags) live() api.LiveLimits {
	limits := api.LiveLimits{Streams: f.MaxLive, StreamsPerKey: f.MaxLivePerKey}
	if os.Getenv("GOGC") == "" {
		limits.OnStreams = thrift()
	}
	return limits
}

// With manyStreams, gcPercent would leave some hundred megabytes of garbage: it counts
// the stacks of the streams, too, of which there is no garbage.
const (
	manyStreams   = 1000
	gcPercentMany = 100
)

// thrift is for api.LiveLimits.OnStreams. Between half of manyStreams and all of them
// the percentage stays as it is, so that it isn't set at every stream that comes or goes.
func thrift() func(streams int) {
	isThrifty := false
	return func(streams int) {
		switch {
		case !isThrifty && streams >= manyStreams:
			isThrifty = true
			debug.SetGCPercent(gcPercentMany)
		case isThrifty && streams < manyStreams/2:
			isThrifty = false
			debug.SetGCPercent(gcPercent)
		}
	}
}

func (f *liveFlags) checkLive() error {
	if f.MaxLive < 0 || f.MaxLivePerKey < 0 {
		return errors.New("--max-live and --max-live-per-key must be at least 0")
	}
	return nil
}
