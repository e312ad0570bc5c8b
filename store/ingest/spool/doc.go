// Package spool keeps records on the local disk until they are durably
// somewhere else: an append-only log of bytes that is drained from its front.
//
// What Append has answered for is on the disk, fsynced. Each record has a
// sequence number, from 1 for ever: numbers never go back and are never used
// twice, also when everything was drained and deleted. After a crash or a failed
// write a record may come out that was never acknowledged, or one again that was
// drained already; none that was acknowledged is missing. So whoever drains must
// recognise duplicates.
//
// # The directory
//
//	id                                 the spool's id
//	drained                            how far it was drained
//	drained.tmp                        space for the next such file
//	00000000000000000001.seg           a segment, named after its first sequence number
//	00000000000000000001.seg.damaged   a segment set aside
//
// All other files are ignored. One process at a time may use a directory.
//
// The files id and drained are one line each: the value (32 hexadecimal digits; a
// number of 20 decimal digits), a space, and the CRC32C of the value in 8 hexadecimal
// digits. They are written as *.tmp, fsynced, and renamed. drained is written before a
// segment is deleted, also on a full disk, so with the segments that are there it tells all numbers
// that were ever drained or lost. If id is lost, it is read from a segment; if
// drained is lost, all that is there is drained again.
//
// # A segment
//
// Integers are big-endian, checksums are CRC32C (Castagnoli). A segment is a header
// of 56 bytes and records without padding.
//
//	┌──────────────────────────────────────────────────────────────┐
//	│ magic "RAPSPOOL" <8b> │ version = 1 <4b> │ CRC32C <4b>       │
//	├──────────────────────────────────────────────────────────────┤
//	│ first <8b> │ kept <8b> │ before <8b> │ id of the spool <16b> │
//	├──────────────────────────────────────────────────────────────┤
//	│ record │ record │ …                                          │
//	└──────────────────────────────────────────────────────────────┘
//
// The header's CRC is over all of the header but itself. first is the sequence
// number of the first record. kept is the last number that was acknowledged before
// this segment was made: those between kept and first belong to failed writes, and
// nobody misses them. before is the first number of the segment that was written
// before this one, 0 if there was none; so a missing segment shows by the headers
// alone.
//
//	┌──────────────────────────────────────────────────────────────────────────────┐
//	│ length <4b> │ CRC32C <4b> │ sequence <8b> │ kept at <8b> │ payload <length b> │
//	└──────────────────────────────────────────────────────────────────────────────┘
//
// length is that of the payload, kept at is in microseconds since 1970. The CRC is
// over the 16 bytes of the spool's id and then the record but for the CRC itself.
// The id makes it impossible for a payload to pretend to be a record, and the
// sequence number tells how many records are lost in a damaged place.
//
// # Failed writes
//
// After a write or fsync that failed nothing is known about the file but what was
// acknowledged before. So it is never written again: what failed is cut off if that
// is possible, its numbers are given to nothing else, and the next Append begins
// another segment, whose header says that these numbers mean nothing.
//
// # Recovery
//
// Open reads the headers, and all of the last segment. What is unreadable at the
// end of the last one, with nothing readable behind it, is a write that a crash
// interrupted: it is cut off. Open never goes on writing to an old segment.
//
// All else that does not check is damage, found by Open or, where it reads first, by
// Next: a wrong header, an unknown version, a wrong checksum, a file that is too
// short, blocks that the disk does not give back. From there the segment is searched,
// byte by byte, for the next record that checks. Once all that could be read is
// drained, the segment is renamed to *.damaged, for the operator to look at and to
// delete, and an error in the log says how much was saved and lost. A segment of
// another spool is set aside unread.
package spool
