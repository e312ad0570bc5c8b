//go:build tools

// Package tools names the programs that development needs, so that their
// versions stand in this go.mod and not in the project's.
package tools

import (
	_ "github.com/sqlc-dev/sqlc/cmd/sqlc"
	_ "honnef.co/go/tools/cmd/staticcheck"
)
