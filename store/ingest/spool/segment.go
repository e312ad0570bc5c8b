package spool

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"strconv"
	"strings"
)

const (
	magic         = "RAPSPOOL"
	version       = 1
	headerBytes   = 56 // of a segment
	overheadBytes = 24 // of a record, beside its payload
	maxSequence   = 1 << 62
)

// The names of segments, and of those set aside.
const (
	segmentSuffix = ".seg"
	damagedSuffix = ".damaged"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segment is a file of the spool. What is not noted otherwise never changes.
type segment struct {
	first  uint64 // sequence number of the first record
	name   string
	start  int64   // offset of the first record
	header *header // of a segment that was found; nil if it was made by this process, or doesn't check

	// Guarded by Spool.mu:
	last     uint64 // number of the last record that counts; first-1 if there is none
	size     int64  // bytes up to the end of that record
	examined uint64 // up to here the reader knows what is there and what is lost
	readable uint64 // number of the last record that the reader saw
	saved    int64  // records that the reader saw
	lost     []span // of those that were not drained
	damaged  bool
	retired  bool // no longer in the spool
}

// span is of sequence numbers, both included.
type span struct{ from, to uint64 }

func newSegment(first uint64) *segment {
	return &segment{
		first: first, name: segmentName(first), start: headerBytes,
		last: first - 1, examined: first - 1, readable: first - 1,
	}
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// parseName returns the first sequence number of a segment of that name, and whether it was
// set aside.
func parseName(name string) (first uint64, aside, ok bool) {
	digits, rest, found := strings.Cut(name, segmentSuffix)
	if !found || len(digits) != 20 || rest != "" && !strings.HasSuffix(rest, damagedSuffix) {
		return 0, false, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, rest != "", err == nil && first >= 1 && first <= maxSequence
}

// pending is how many records are still to be drained, as far as is known.
func (seg *segment) pending(drainedTo uint64) int64 {
	n := overlap(span{seg.first, seg.last}, drainedTo)
	for _, lost := range seg.lost {
		n -= overlap(lost, drainedTo)
	}
	return n
}

// overlap is how many numbers of the span are beyond drainedTo.
func overlap(s span, drainedTo uint64) int64 {
	from := max(s.from, drainedTo+1)
	if from > s.to {
		return 0
	}
	return int64(s.to - from + 1)
}

// finished reports whether nothing is left to be drained.
func (seg *segment) finished(drainedTo uint64) bool {
	return seg.last <= drainedTo || seg.examined >= seg.last && seg.readable <= drainedTo
}

// header is what a segment begins with; the package comment tells what its fields
// mean.
type header struct {
	first, kept, before uint64
	id                  [16]byte
}

func (h *header) append(b []byte) []byte {
	from := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, h.first)
	b = binary.BigEndian.AppendUint64(b, h.kept)
	b = binary.BigEndian.AppendUint64(b, h.before)
	b = append(b, h.id[:]...)
	binary.BigEndian.PutUint32(b[from+12:], headerSum(b[from:]))
	return b
}

func headerSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:headerBytes])
}

// parseHeader returns nil for what is no header of this version.
func parseHeader(b []byte) *header {
	if len(b) < headerBytes || string(b[:8]) != magic ||
		binary.BigEndian.Uint32(b[8:]) != version || binary.BigEndian.Uint32(b[12:]) != headerSum(b) {
		return nil
	}
	return &header{
		first:  binary.BigEndian.Uint64(b[16:]),
		kept:   binary.BigEndian.Uint64(b[24:]),
		before: binary.BigEndian.Uint64(b[32:]),
		id:     [16]byte(b[40:headerBytes]),
	}
}

// beginsHeader reports whether these are the first bytes of a header of this
// version, and not all of it.
func beginsHeader(b []byte) bool {
	if len(b) >= headerBytes || !strings.HasPrefix(magic, string(b[:min(len(b), len(magic))])) {
		return false
	}
	return len(b) < 12 || binary.BigEndian.Uint32(b[8:]) == version
}

// seedOf is where the checksums of a spool's records begin.
func seedOf(id [16]byte) uint32 { return crc32.Checksum(id[:], castagnoli) }

// parseID reads an id as it is written: 32 hexadecimal digits.
func parseID(text string) (id [16]byte, ok bool) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, false
	}
	return [16]byte(b), true
}

// record is what the scanner found. The payload is valid until the next one.
type record struct {
	sequence uint64
	at       int64 // µs since 1970
	payload  []byte
	off, end int64 // in the file
}

// encodedSize is the bytes that records take.
func encodedSize(records [][]byte) (int64, error) {
	var size int64
	for _, payload := range records {
		if len(payload) > math.MaxInt32 {
			return 0, fmt.Errorf("a record of %d bytes is too large for the spool", len(payload))
		}
		size += overheadBytes + int64(len(payload))
	}
	return size, nil
}

// appendRecord encodes a record.
func appendRecord(b []byte, seed uint32, sequence uint64, at int64, payload []byte) []byte {
	from := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[from+4:], recordSum(seed, b[from:]))
	return b
}

func recordSum(seed uint32, b []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli, b[:4]), castagnoli, b[8:])
}

// scanner finds the records of a segment, in order.
type scanner struct {
	src      *window
	seed     uint32
	off      int64  // behind the last record found
	sequence uint64 // the least that the next one can have
	limit    uint64 // the greatest that any can have
}

// next returns the next record that checks. It passes over all bytes that are none:
// then its off is not where the record before it ended.
func (sc *scanner) next() (record, bool, error) {
	for off := sc.off; sc.sequence <= sc.limit && off+overheadBytes <= sc.src.size; {
		rec, ok, err := sc.check(off)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			continue // the file is shorter, and size tells so now
		}
		if err != nil {
			return record{}, false, err
		}
		if ok {
			sc.off, sc.sequence = rec.end, rec.sequence+1
			return rec, true, nil
		}
		off++
	}
	return record{}, false, nil
}

// check reads the record at off, if there is one.
func (sc *scanner) check(off int64) (record, bool, error) {
	b, err := sc.src.bytes(off, overheadBytes)
	if err != nil {
		return record{}, false, err
	}
	length, sequence := int64(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint64(b[8:])
	if sequence < sc.sequence || sequence > sc.limit || length > sc.src.size-off-overheadBytes {
		return record{}, false, nil // the common case in a search: no sum is needed
	}
	b, err = sc.src.bytes(off, overheadBytes+int(length))
	if err != nil {
		return record{}, false, err
	}
	if recordSum(sc.seed, b) != binary.BigEndian.Uint32(b[4:]) {
		return record{}, false, nil
	}
	return record{
		sequence: sequence, at: int64(binary.BigEndian.Uint64(b[16:])), payload: b[overheadBytes:],
		off: off, end: off + overheadBytes + length,
	}, true, nil
}
