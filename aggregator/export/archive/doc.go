// Package archive keeps a copy of the log in a bucket, from which `rapport restore`
// makes the database again. A bucket is whatever gocloud.dev/blob has a URL for.
//
//	events/date=2026-09-01/hour=13/000000000001-000000032768.parquet
//	state/000000000042-<log>.json
//	state/<table>-<hash>.copy.zst
//	avatar-events/2026-09-01/13/<session_id>-<started_at>.json
//
// A block has the events of a stretch of positions: every column of the log, in the
// order of positions, under the hour in which the first of them was received; it has
// those of a day, or of several days that have few. Which stretches these are is recorded in the database before anything is written, so a step
// that is repeated writes the same bytes under the same name. An object is never
// changed: a block whose events became stubs, or that has grown, is written under
// another name (….v2.parquet, or with another end).
//
// A manifest says what the archive consists of: the blocks with their hashes, and
// copies of the tables that can't be folded from the log. The one with the greatest
// number counts; whatever it does not name is not part of the archive. So the archive
// is always that of one moment, wherever a process was killed; and old blocks are
// deleted only when a manifest without them is there.
//
// A session has its object from when it is closed; it is written again when a late event,
// an erasure, retention or a rebuild changes it.
package archive
