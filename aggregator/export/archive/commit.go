package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"rapport/store"
)

// manifest writes a manifest if there is something new to tell.
func (f *Follower) manifest(ctx context.Context) error {
	version, err := f.archive.StateVersion(ctx)
	if err != nil {
		return err
	}
	if !f.changed && version == f.status.Version {
		return nil
	}
	if _, err := f.check(ctx); err != nil { // somebody may have restored it elsewhere
		return err
	}
	c := &commit{follower: f}
	defer c.forget()
	state, err := f.archive.State(ctx, f.status.Version, c.copy)
	if errors.Is(err, store.ErrArchiveBehind) {
		f.flush = true // the next round has it
		return nil
	}
	if err != nil {
		return err
	}
	return c.write(ctx, &state)
}

// inManifest is how large the copy of a table may be that stands in the manifest itself.
const inManifest = 4 << 10

// commit is the making of a manifest.
type commit struct {
	follower *Follower
	tables   []Table
	files    map[string]*os.File // objects that are to be written, and their content
}

func (c *commit) forget() {
	for _, file := range c.files {
		_ = file.Close()
	}
}

// hiddenFile is a file of this machine that has no name: it goes with the process, however
// that ends.
func hiddenFile() (*os.File, error) {
	file, err := os.CreateTemp("", "rapport-archive-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// copy copies a table to a file: to the bucket it goes after the transaction. What the
// last manifest has of the same version is taken over.
func (c *commit) copy(ctx context.Context, t store.TableCopy) error {
	var known []Table
	if err := json.Unmarshal(c.follower.status.Tables, &known); err != nil {
		return fmt.Errorf("reading which tables were copied: %w", err)
	}
	for _, table := range known {
		if !c.follower.recopy && table.Name == t.Table && table.Version == t.Version {
			c.tables = append(c.tables, table)
			return nil
		}
	}
	table := Table{Name: t.Table, Version: t.Version, Columns: t.Columns}
	file, err := hiddenFile()
	if err != nil {
		return err
	}
	if err := c.copyTo(ctx, file, t, &table); err != nil || table.Object == "" {
		return errors.Join(err, file.Close())
	}
	if c.files == nil {
		c.files = make(map[string]*os.File)
	}
	c.files[table.Object] = file
	c.tables = append(c.tables, table)
	return nil
}

// copyTo writes the compressed rows, whose hash names the object. Of a small table that
// is not needed.
func (c *commit) copyTo(ctx context.Context, file *os.File, t store.TableCopy, table *Table) error {
	hash := sha256.New()
	encoder, err := zstd.NewWriter(io.MultiWriter(file, hash), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	var begin head
	table.Rows, err = t.Write(ctx, io.MultiWriter(encoder, &begin))
	if err := errors.Join(err, encoder.Close()); err != nil {
		return err
	}
	if !begin.isMore {
		table.Copy = begin.String()
		c.tables = append(c.tables, *table)
		return nil
	}
	sum := hash.Sum(nil)
	table.Object, table.SHA256 = nameOfTable(t.Table, sum), hex.EncodeToString(sum)
	return nil
}

// head keeps the begin of what is written.
type head struct {
	strings.Builder
	isMore bool
}

// Write takes all of it.
func (h *head) Write(p []byte) (int, error) {
	if h.isMore = h.isMore || h.Len()+len(p) > inManifest; !h.isMore {
		h.Builder.Write(p)
	}
	return len(p), nil
}

// write brings the tables and the manifest to the bucket: from then on it counts.
func (c *commit) write(ctx context.Context, state *store.ArchiveState) error {
	f := c.follower
	for object, file := range c.files {
		if err := f.upload(ctx, object, file); err != nil {
			return err
		}
	}
	number, err := f.archive.Number(ctx)
	if err != nil {
		return err
	}
	f.status.Numbered = number
	m := &Manifest{
		Format: formatVersion, Log: f.status.LogID, Number: number, Continues: f.status.Continues,
		WrittenAt: time.Now().UTC().Truncate(time.Second), Position: state.Position, Head: state.Head, Tables: c.tables,
	}
	for _, block := range state.Blocks {
		m.Blocks = append(m.Blocks, blockOf(block))
		m.Events += block.Events
	}
	content, err := m.encode()
	if err != nil {
		return err
	}
	tables, err := json.Marshal(c.tables)
	if err != nil {
		return err
	}
	if err := f.Bucket.put(ctx, m.name().String(), "application/json", content); err != nil {
		return err
	}
	if err := f.archive.Committed(ctx, m.Number, state, tables); err != nil {
		return err
	}
	f.status.Manifest, f.status.Version, f.status.Tables, f.status.Position = m.Number, state.Version, tables, state.Position
	f.status.WrittenAt = m.WrittenAt
	f.changed, f.recopy, f.committed = false, false, time.Now()
	return f.sweepState(ctx, m)
}

func (f *Follower) upload(ctx context.Context, object string, file *os.File) error {
	size, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	return f.Bucket.write(ctx, upload{object: object, contentType: "application/zstd", bytes: size}, func(w io.Writer) error {
		_, err := io.Copy(w, file)
		return err
	})
}

// sweepState deletes what only older manifests of ours named, and these.
func (f *Follower) sweepState(ctx context.Context, m *Manifest) error {
	named := map[string]bool{m.name().String(): true}
	for _, table := range m.Tables {
		named[table.Object] = true
	}
	var old []string
	err := f.Bucket.list(ctx, stateFolder, func(object string) error {
		name, isManifest := parseManifestName(object)
		isOurs := isManifest && (name.log == m.Log || object == m.Continues)
		if (isOurs || tableName.MatchString(object)) && !named[object] {
			old = append(old, object)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return f.Bucket.remove(ctx, old...)
}
