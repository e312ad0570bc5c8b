package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestErrorsSayEverythingOnce(t *testing.T) {
	t.Parallel()
	const header = "failed to connect to `user=u database=d`:\n\t"
	for says, err := range map[string]string{
		"failed to connect to `user=u database=d`: h:1 (::1): connection refused":            header + "h:1 (::1): connection refused\n\th:1 (::1): connection refused",
		"failed to connect to `user=u database=d`: h:1 (::1): password failed":               header + "h:1 (::1): tls error: server refused TLS connection\n\th:1 (::1): password failed",
		"failed to connect to `user=u database=d`: tls error: server refused TLS connection": header + "tls error: server refused TLS connection",
		"one two": "one\n\n  two\n",
	} {
		if got := oneLine(errors.New(err)); got != says {
			t.Errorf("%q is %q, want %q", err, got, says)
		}
	}
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		flags := logFlags{LogLevel: slog.LevelInfo, LogFormat: format}
		flags.logger(&out).Warn("failed", "error", fmt.Errorf("asking: %w", errors.New("one\n\ttwo")), "none", nil)
		if !strings.Contains(out.String(), `"asking: one two"`) {
			t.Errorf("%s: %s", format, &out)
		}
	}
}
