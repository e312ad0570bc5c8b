package main

import (
	_ "embed" // for the SQL
	"fmt"
)

//go:embed dbroles.sql
var dbRolesSQL string

type dbRolesCmd struct{}

// Help is what --help says besides the flags.
func (*dbRolesCmd) Help() string {
	return `For a Postgres where Rapport's owner can't create roles, such as a managed one: an administrator who can
(CREATEROLE and CREATEDB suffice) runs what this prints, once, and "rapport migrate" grants the rest. The
passwords come from the environment of psql:

  export OWNER_PASSWORD=... SERVER_PASSWORD=... READER_PASSWORD=... SQL_PASSWORD=...
  rapport db roles | psql "$ADMIN_URL"

It changes nothing by itself.`
}

// Run prints the SQL.
func (*dbRolesCmd) Run(io streams) error {
	_, err := fmt.Fprint(io.Out, dbRolesSQL)
	return err
}
