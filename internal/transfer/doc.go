// Package transfer takes sessions, messages and events out of Rapport, as Parquet, CSV
// or NDJSON, and events into it.
//
// An export reads page after page behind the last row of the one before, so that its
// memory is constant and no long transaction keeps Postgres from cleaning up. Of events
// and messages it has those up to the head that the log had when it began. Sessions are
// as they are when their page is read; each row is whole. A file is in its place only
// once it is complete.
//
// An import appends in the order of its lines, with the decoder, the masks and the checks
// of a live delivery. Every event is known by its fingerprint, so that to import again
// what was imported changes nothing.
package transfer
