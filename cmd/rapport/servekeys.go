package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"rapport/api"
	"rapport/store"
)

// needsToken is what a server lacks that listens beyond loopback without any key.
const needsToken = "RAPPORT_API_TOKEN, or a key of `rapport key create` (for reading)"

// isExposed reports whether the server listens for others than this machine.
func (c *serveCmd) isExposed() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err != nil || !isLoopback(host)
}

// mayHaveKeys reports whether there is a database that can have API keys.
func (c *serveCmd) mayHaveKeys() bool {
	if c.isConfigured() {
		return true
	}
	_, err := os.Stat(filepath.Join(c.DataDir, "postgres"))
	return err == nil
}

// keys are the API keys of the database. Where there is none, a server that listens
// beyond loopback needs the token. While the database doesn't tell, such a server
// answers no read without the token.
func (c *serveCmd) keys(ctx context.Context, db *store.DB, isAway bool, logger *slog.Logger) (*api.Keys, error) {
	keys := api.NewKeys(db, logger)
	if isAway {
		return keys, nil
	}
	hasKey, err := keys.Any(ctx)
	switch {
	case err != nil:
		logger.Warn("the API keys could not be read", "error", err)
	case hasKey || c.APIToken != "":
	case c.isExposed():
		return nil, fmt.Errorf("listening on %s, which is not loopback, needs %s", c.Listen, needsToken)
	default:
		logger.Warn("reads are answered to this machine alone, and to all of it, since there is no RAPPORT_API_TOKEN and no API key")
	}
	return keys, nil
}
