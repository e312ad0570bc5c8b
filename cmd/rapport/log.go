package main

import (
	"io"
	"log/slog"
)

// logFlags tell how the log is written.
type logFlags struct {
	LogLevel  slog.Level `default:"info" help:"The least that is logged: debug, info, warn or error."`
	LogFormat string     `enum:"text,json" default:"text" help:"How it is written: text or json."`
}

func (f *logFlags) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: f.LogLevel, ReplaceAttr: errorsInOneLine}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// errorsInOneLine makes errors as short as they are on the terminal.
func errorsInOneLine(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindAny {
		if err, ok := attr.Value.Any().(error); ok && err != nil {
			attr.Value = slog.StringValue(oneLine(err))
		}
	}
	return attr
}
