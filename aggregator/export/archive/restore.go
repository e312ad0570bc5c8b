package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"rapport/store"
)

// blocksAhead are read while another one is written.
const blocksAhead = 2

// Read reads all blocks of an archive behind a position, in order, and proves each to be
// what was written: it gives them to do, one after the other.
func (m *Manifest) Read(ctx context.Context, bucket *Bucket, decode Decode, after int64, do func(*Block, []store.ExportedEvent) error) error {
	type read struct {
		block  *Block
		events []store.ExportedEvent
		err    error
	}
	group, ctx := errgroup.WithContext(ctx)
	ahead := make(chan chan read, blocksAhead)
	group.Go(func() error {
		defer close(ahead)
		for i := range m.Blocks {
			block := &m.Blocks[i]
			if block.Last <= after {
				continue
			}
			result := make(chan read, 1)
			select {
			case ahead <- result:
			case <-ctx.Done():
				return ctx.Err()
			}
			go func() {
				events, err := readBlock(ctx, bucket, decode, block)
				result <- read{block, events, err}
			}()
		}
		return nil
	})
	group.Go(func() error {
		for result := range ahead {
			r := <-result
			if r.err != nil {
				return r.err
			}
			if err := do(r.block, r.events); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait()
}

// Restore restores an archive into a database: the log and what is beside it, but for the
// rollups, which are to be rebuilt then. progress is told how many positions are there.
func Restore(ctx context.Context, bucket *Bucket, m *Manifest, decode Decode, r *store.Restore, progress func(int64)) error {
	if r.IsLogged() {
		return nil
	}
	// What can't be finished should not be begun.
	tables, closeTables, err := m.openTables(ctx, bucket)
	if err != nil {
		return err
	}
	defer closeTables()
	if err := m.isAtBlock(r.Position()); err != nil {
		return err
	}
	progress(r.Position())
	if err := m.Read(ctx, bucket, decode, r.Position(), func(block *Block, events []store.ExportedEvent) error {
		if err := r.Block(ctx, block.First, block.Last, events); err != nil {
			return err
		}
		progress(block.Last)
		return nil
	}); err != nil {
		return err
	}
	var blocks []store.ArchiveBlock
	for i := range m.Blocks {
		block, err := m.Blocks[i].stored()
		if err != nil {
			return fmt.Errorf("%s is damaged: %w", m.name(), err)
		}
		blocks = append(blocks, block)
	}
	return r.Finish(ctx, m.Number, m.Head, tables, blocks)
}

// isAtBlock makes sure that an interrupted restore ended with a block.
func (m *Manifest) isAtBlock(position int64) error {
	if position == 0 {
		return nil
	}
	for _, block := range m.Blocks {
		if block.Last == position {
			return nil
		}
	}
	return store.ErrIntruder
}

// Check reads and proves all of an archive, but for the sessions' objects, and changes
// nothing.
func Check(ctx context.Context, bucket *Bucket, m *Manifest, decode Decode, progress func(int64)) error {
	_, closeTables, err := m.openTables(ctx, bucket)
	if err != nil {
		return err
	}
	closeTables()
	return m.Read(ctx, bucket, decode, 0, func(block *Block, _ []store.ExportedEvent) error {
		progress(block.Last)
		return nil
	})
}

// openTables fetches the copies of the tables, and proves them to be what was written.
func (m *Manifest) openTables(ctx context.Context, bucket *Bucket) (tables []store.RestoredTable, closeAll func(), err error) {
	var files []*os.File
	var decoders []*zstd.Decoder
	closeAll = func() {
		for _, d := range decoders {
			d.Close()
		}
		for _, file := range files {
			_ = file.Close()
		}
	}
	for _, t := range m.Tables {
		table := store.RestoredTable{Name: t.Name, Columns: t.Columns, Rows: t.Rows, Copy: strings.NewReader(t.Copy)}
		if t.Object != "" {
			file, err := fetchTable(ctx, bucket, &t)
			if file != nil {
				files = append(files, file)
			}
			if err != nil {
				closeAll()
				return nil, nil, err
			}
			decoder, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
			if err != nil {
				closeAll()
				return nil, nil, fmt.Errorf("reading %s: %w", t.Object, err)
			}
			decoders = append(decoders, decoder)
			table.Copy = decoder
		}
		tables = append(tables, table)
	}
	return tables, closeAll, nil
}

// fetchTable brings the copy of a table to a file of this machine.
func fetchTable(ctx context.Context, bucket *Bucket, t *Table) (*os.File, error) {
	file, err := hiddenFile()
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	if err := bucket.readTo(ctx, t.Object, io.MultiWriter(file, hash)); err != nil {
		return file, readError(t.Object, err)
	}
	if sum := hash.Sum(nil); hex.EncodeToString(sum) != t.SHA256 {
		return file, fmt.Errorf("%s is damaged: its SHA-256 is %x, and should be %s", t.Object, sum, t.SHA256)
	}
	_, err = file.Seek(0, io.SeekStart)
	return file, err
}
