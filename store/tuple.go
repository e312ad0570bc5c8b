package store

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// tuple is a version of a row: of which server it is, in which file of a table, where in
// it, and of which transaction. Rows that are changed become others, and so do those of a
// rebuild. A server is known by when it was started: after a failover or a restore to an
// earlier time, the same transactions come again, and write something else.
type tuple struct {
	server int64 // µs since 1970
	file   uint32
	place  pgtype.TID
	since  uint32
}

// fileOf is the file of a table, in SQL. (A table's oid stays when VACUUM FULL or CLUSTER
// write it anew, where rows of one transaction come into each other's places.)
func fileOf(table string) string { return "(SELECT pg_relation_filenode('" + table + "'::regclass))" }

// tupleColumns are those of a tuple of sessions, for rowValues.
var tupleColumns = "(SELECT pg_postmaster_start_time()), " + fileOf("sessions") + ", ctid, xmin"

var tupleFormats = pgx.QueryResultFormats{pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode}

// tuple reads tupleColumns, which come in binary.
func (v *rowValues) tuple() tuple {
	t := tuple{server: v.time().UnixMicro(), file: uint32(v.int())} // #nosec G115 -- the bits of an oid
	if place, isBinary := v.next(); isBinary && len(place) == 6 {
		t.place = pgtype.TID{BlockNumber: binary.BigEndian.Uint32(place), OffsetNumber: binary.BigEndian.Uint16(place[4:]), Valid: true}
	} else {
		v.fail("%q is no place of a row", place)
	}
	t.since = uint32(v.int()) // #nosec G115 -- the bits of a transaction's number
	return t
}
