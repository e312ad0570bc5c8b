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
		t.place = placeOf(place)
	} else {
		v.fail("%q is no place of a row", place)
	}
	t.since = uint32(v.int()) // #nosec G115 -- the bits of a transaction's number
	return t
}

// tuplesOf selects the tuples of rows of a table as one row, in the order of the rows: a
// row each takes Postgres, and whoever reads it, several times as long.
func tuplesOf(table string) string {
	return "pg_postmaster_start_time(), pg_relation_filenode('" + table + "'::regclass), string_agg(tidsend(ctid) || xidsend(xmin), '')"
}

var tuplesFormats = pgx.QueryResultFormats{pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode}

const tupleBytes = 6 + 4 // what is sent of each: block and offset, transaction

// tuples are those of tuplesOf.
type tuples []tuple

// ScanRow is of pgx.RowScanner.
func (t *tuples) ScanRow(row pgx.Rows) error {
	v := rowValues{fields: row.FieldDescriptions(), raw: row.RawValues()}
	of := tuple{server: v.time().UnixMicro(), file: uint32(v.int())} // #nosec G115 -- the bits of an oid
	sent, isBinary := v.next()
	if !isBinary || len(sent)%tupleBytes != 0 {
		v.fail("%d bytes are no tuples", len(sent))
		return v.done()
	}
	*t = make([]tuple, 0, len(sent)/tupleBytes)
	for ; len(sent) > 0; sent = sent[tupleBytes:] {
		of.place = placeOf(sent)
		of.since = binary.BigEndian.Uint32(sent[6:])
		*t = append(*t, of)
	}
	return v.done()
}

// known finds the rows of tuples that are kept; nil for each other one, and where these
// are.
func known[R any](found []tuple, kept func(tuple) *R) (rows []*R, others []pgtype.TID) {
	rows = make([]*R, len(found))
	for i, at := range found {
		if rows[i] = kept(at); rows[i] == nil {
			others = append(others, at.place)
		}
	}
	return rows, others
}

// placeOf is where a row is, as tidsend has it.
func placeOf(sent []byte) pgtype.TID {
	return pgtype.TID{BlockNumber: binary.BigEndian.Uint32(sent), OffsetNumber: binary.BigEndian.Uint16(sent[4:]), Valid: true}
}
