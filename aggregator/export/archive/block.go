package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"rapport/store"
)

// The size of a block. It is in memory, compressed, while it is written. Small ones take
// more of the bucket for the same events.
var blockBounds = store.BlockBounds{Events: 32_768, Enough: 8192, Bytes: 16 << 20}

// pageBytes is the size of a column's page: what is compressed as one piece.
const pageBytes = 1 << 20

// What a block says of itself, besides its rows.
const (
	formatKey       = "rapport.format"
	fingerprintsKey = "rapport.fingerprints" // SHA-256 of the fingerprints of all events, those that are null included
)

// encodeBlock reads the events of a block, and fills in what is known of it then.
func encodeBlock(ctx context.Context, db *store.DB, decode Decode, block *store.ArchiveBlock) ([]byte, error) {
	var buffer bytes.Buffer
	w := parquet.NewGenericWriter[row](&buffer, parquet.Compression(&zstd.Codec{Level: zstd.SpeedBetterCompression}),
		parquet.PageBufferSize(pageBytes), parquet.SkipPageBounds("message"), parquet.SkipPageBounds("payload"),
		parquet.SkipPageBounds("payload_raw"), parquet.SkipPageBounds("fingerprint"), parquet.SkipPageBounds("headers"))
	fingerprints := sha256.New()
	block.Events, block.Content, block.Oldest, block.Newest = 0, 0, time.Time{}, time.Time{}
	for after := block.First - 1; ; {
		events, err := db.ExportEvents(ctx, store.ExportQuery{After: after, UpTo: block.Last})
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			break
		}
		if err := writeEvents(w, fingerprints, decode, events); err != nil {
			return nil, err
		}
		count(block, events)
		after = events[len(events)-1].Position
	}
	w.SetKeyValueMetadata(formatKey, strconv.Itoa(formatVersion))
	w.SetKeyValueMetadata(fingerprintsKey, hex.EncodeToString(fingerprints.Sum(nil)))
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing a block: %w", err)
	}
	sum := sha256.Sum256(buffer.Bytes())
	block.SHA256, block.Bytes = sum[:], int64(buffer.Len())
	block.Object = nameOfBlock(*block)
	return buffer.Bytes(), nil
}

func writeEvents(w *parquet.GenericWriter[row], fingerprints hash.Hash, decode Decode, events []store.ExportedEvent) error {
	rows := make([]row, len(events))
	for i := range events {
		rows[i] = decode.rowOf(&events[i])
		fingerprints.Write(events[i].Fingerprint[:])
	}
	if _, err := w.Write(rows); err != nil {
		return fmt.Errorf("writing a block: %w", err)
	}
	return nil
}

func count(block *store.ArchiveBlock, events []store.ExportedEvent) {
	block.Events += int64(len(events))
	for i := range events {
		e := &events[i]
		block.Content += int64(len(e.Text) + len(body(e)))
		if block.Oldest.IsZero() || e.OccurredAt.Before(block.Oldest) {
			block.Oldest = e.OccurredAt
		}
		if e.OccurredAt.After(block.Newest) {
			block.Newest = e.OccurredAt
		}
	}
}

// readBlock reads a block from the bucket, and proves that it is the one that was
// written.
func readBlock(ctx context.Context, bucket *Bucket, decode Decode, block *Block) ([]store.ExportedEvent, error) {
	text, err := bucket.read(ctx, block.Object)
	if err != nil {
		return nil, readError(block.Object, err)
	}
	sum := sha256.Sum256(text)
	if hex.EncodeToString(sum[:]) != block.SHA256 {
		return nil, fmt.Errorf("%s is damaged: it has %d bytes with the SHA-256 %x, and should have %d with %s",
			block.Object, len(text), sum, block.Bytes, block.SHA256)
	}
	events, err := decodeBlock(text, decode)
	if err == nil {
		err = checkPositions(block, events)
	}
	if err != nil {
		return nil, fmt.Errorf("%s can't be restored: %w", block.Object, err)
	}
	return events, nil
}

func decodeBlock(text []byte, decode Decode) ([]store.ExportedEvent, error) {
	file, err := parquet.OpenFile(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		return nil, err
	}
	if format, _ := file.Lookup(formatKey); format != strconv.Itoa(formatVersion) {
		return nil, fmt.Errorf("its format is %q, and this rapport knows %d", format, formatVersion)
	}
	reader := parquet.NewGenericReader[row](file)
	defer func() { _ = reader.Close() }()
	events := make([]store.ExportedEvent, 0, reader.NumRows())
	fingerprints := sha256.New()
	rows := make([]row, 1024)
	for {
		clear(rows) // a null would leave what was there
		n, err := reader.Read(rows)
		for i := range rows[:n] {
			event, err := decode.eventOf(&rows[i])
			if err != nil {
				return nil, err
			}
			fingerprints.Write(event.Fingerprint[:])
			events = append(events, event)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if said, _ := file.Lookup(fingerprintsKey); said != hex.EncodeToString(fingerprints.Sum(nil)) {
		return nil, errors.New("this rapport makes other fingerprints of its bodies than the one that wrote it: restore with that one, and upgrade then")
	}
	return events, nil
}

// checkPositions proves that a block has what it says, in order.
func checkPositions(block *Block, events []store.ExportedEvent) error {
	if int64(len(events)) != block.Events {
		return fmt.Errorf("it has %d events, and should have %d", len(events), block.Events)
	}
	last := block.First - 1
	for i := range events {
		position := events[i].Position
		if position <= last || position > block.Last {
			return fmt.Errorf("position %d is not where it should be", position)
		}
		last = position
	}
	return nil
}
