// Package archive keeps a copy of the log in a bucket, from which `rapport restore`
// makes the database again. A bucket is whatever gocloud.dev/blob has a URL for.
//
//	events/date=2026-09-01/hour=13/000000000001-000000032768-5f70bf18a086007a.parquet
//	state/000000000042-<log>.json
//	state/<table>-<hash>.copy.zst
//	avatar-events/2026-09-01/13/<session_id>-<started_at>.json
//
// A block has the events of a stretch of positions: every column of the log, in the
// order of positions, under the hour in which the first of them was received; it has
// those of a day, or of several days that have few. Which stretches these are is
// recorded in the database before anything is written, so a step that is repeated writes
// the same bytes under the same name. An object is never changed: its name tells the
// positions and the hash of the content, so a block whose events became stubs, or that has
// grown, has another one.
//
// A manifest says what the archive consists of: the blocks with their hashes, and
// copies of the tables that can't be folded from the log. The one with the greatest
// number counts; whatever it does not name is not part of the archive. So the archive
// is always that of one moment, wherever a process was killed; and old blocks are
// deleted only when a manifest without them is there. Each try to write a manifest has a
// number of its own: what a process writes that wakes up too late counts for nothing.
//
// A session has its object from when it is closed; it is written again when a late event,
// an erasure, retention or a rebuild changes it.
package archive
