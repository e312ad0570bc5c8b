// Package migrations has the schema of the database, as goose migrations.
package migrations

import (
	"embed"
	_ "embed" // for Grants
)

// FS holds the migrations, in files named as goose wants them.
//
//go:embed 0*.sql
var FS embed.FS

// Grants makes the roles and gives them their rights. It is run after every
// migration, and may be repeated.
//
//go:embed grants.sql
var Grants string
