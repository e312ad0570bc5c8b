package main

import (
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// TestManyStreamsMakeTheCollectorThrifty is alone with the collector's percentage: no
// other test sets it.
func TestManyStreamsMakeTheCollectorThrifty(t *testing.T) {
	before := debug.SetGCPercent(gcPercent)
	defer debug.SetGCPercent(before)
	onStreams := thrift()
	for _, step := range []struct {
		streams int
		percent uint64
	}{
		{1, gcPercent}, {manyStreams - 1, gcPercent}, {manyStreams, gcPercentMany}, {5 * manyStreams, gcPercentMany},
		{manyStreams - 1, gcPercentMany}, {manyStreams / 2, gcPercentMany}, {manyStreams/2 - 1, gcPercent}, {manyStreams - 1, gcPercent},
		{manyStreams, gcPercentMany}, {0, gcPercent},
	} {
		onStreams(step.streams)
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		if got := sample[0].Value.Uint64(); got != step.percent {
			t.Fatalf("with %d streams it is %d, want %d", step.streams, got, step.percent)
		}
	}
}
