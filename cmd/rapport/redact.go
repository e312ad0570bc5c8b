package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"rapport/internal/redact"
)

// redactFlags tell what is masked before it is stored.
type redactFlags struct {
	Redact        []string `placeholder:"RULE,…" help:"Mask in texts and payloads, before they are stored: email, iban, card, phone. Default: nothing."`
	RedactPattern []string `sep:"none" placeholder:"NAME=REGEXP" help:"Mask what an RE2 expression matches as [NAME]; may be repeated."`
	RedactFile    string   `type:"path" placeholder:"FILE" help:"More of both, one a line; lines that begin with # are comments."`
}

// redaction makes the rules; nil if there are none.
func (f *redactFlags) redaction() (*redact.Rules, error) {
	builtin, patterns := slices.Clone(f.Redact), slices.Clone(f.RedactPattern)
	if f.RedactFile != "" {
		text, err := os.ReadFile(f.RedactFile)
		if err != nil {
			return nil, fmt.Errorf("--redact-file (%s): %w", variable("redact-file"), err)
		}
		for line := range strings.Lines(string(text)) {
			switch line = strings.TrimSpace(line); {
			case line == "" || line[0] == '#':
			case strings.Contains(line, "="):
				patterns = append(patterns, line)
			default:
				builtin = append(builtin, line)
			}
		}
	}
	rules, err := redact.New(builtin, patterns)
	if err != nil {
		return nil, fmt.Errorf("--redact, --redact-pattern or --redact-file: %w", err)
	}
	return rules, nil
}
