package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gocloud.dev/gcerrors"

	"rapport/store"
)

// formatVersion is that of the objects. Whoever reads another one must be told how.
const formatVersion = 1

// Manifest says what the archive consists of.
type Manifest struct {
	Format    int               `json:"format"`
	Log       string            `json:"log"`       // the name of the log
	Number    int64             `json:"number"`    // of the manifest, from 1
	Continues string            `json:"continues"` // the manifest that the log was restored from, if it was
	WrittenAt time.Time         `json:"written_at"`
	Position  int64             `json:"position"` // the log up to here
	Events    int64             `json:"events"`   // in all blocks
	Head      store.ArchiveHead `json:"head"`
	Tables    []Table           `json:"tables"`
	Blocks    []Block           `json:"blocks"`
}

func (m *Manifest) name() manifestName { return manifestName{m.Number, m.Log} }

// Name is the name of the manifest's object.
func (m *Manifest) Name() string { return m.name().String() }

// Table is the copy of a table, or of some of its rows, as COPY writes it: in the
// manifest itself, or in an object, compressed with zstd.
type Table struct {
	Name    string   `json:"name"`
	Version string   `json:"version"` // another one for other rows
	Columns []string `json:"columns"`
	Rows    int64    `json:"rows"`
	Copy    string   `json:"copy,omitempty"`
	Object  string   `json:"object,omitempty"`
	SHA256  string   `json:"sha256,omitempty"` // of the object
}

// Block is a stretch of the log.
type Block struct {
	First   int64      `json:"first"` // positions
	Last    int64      `json:"last"`
	Events  int64      `json:"events"`  // fewer than positions where months were dropped
	Content int64      `json:"content"` // bytes of bodies and texts
	Hour    time.Time  `json:"hour"`
	Oldest  *time.Time `json:"oldest"` // occurred_at
	Newest  *time.Time `json:"newest"`
	Object  string     `json:"object"`
	Bytes   int64      `json:"bytes"`
	SHA256  string     `json:"sha256"`
}

func blockOf(b store.ArchiveBlock) Block {
	return Block{
		First: b.First, Last: b.Last, Events: b.Events, Content: b.Content, Hour: b.Hour, Oldest: orNull(b.Oldest), Newest: orNull(b.Newest),
		Object: b.Object, Bytes: b.Bytes, SHA256: hex.EncodeToString(b.SHA256),
	}
}

func (b *Block) stored() (store.ArchiveBlock, error) {
	sum, err := hex.DecodeString(b.SHA256)
	return store.ArchiveBlock{
		First: b.First, Last: b.Last, Events: b.Events, Content: b.Content, Hour: b.Hour, Oldest: orZero(b.Oldest), Newest: orZero(b.Newest),
		Object: b.Object, Bytes: b.Bytes, SHA256: sum,
	}, err
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// envelope is how a manifest is written: with the hash of its own text.
type envelope struct {
	SHA256   string          `json:"sha256"`
	Manifest json.RawMessage `json:"manifest"`
}

func (m *Manifest) encode() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return json.Marshal(envelope{SHA256: hex.EncodeToString(sum[:]), Manifest: text})
}

// ErrNoArchive says that there is nothing to be restored.
var ErrNoArchive = errors.New("there is no archive: no manifest lies under state/")

// ReadManifest reads the manifest that counts, and checks that it is whole.
func ReadManifest(ctx context.Context, bucket *Bucket) (*Manifest, error) {
	newest, err := bucket.newest(ctx)
	if err != nil {
		return nil, err
	}
	if newest.number == 0 {
		return nil, fmt.Errorf("%s: %w", bucket.Name, ErrNoArchive)
	}
	text, err := bucket.read(ctx, newest.String())
	if err != nil {
		return nil, readError(newest.String(), err)
	}
	m, err := decodeManifest(text)
	if err == nil && m.name() != newest {
		err = fmt.Errorf("it is manifest %s", m.name())
	}
	if err == nil {
		err = m.check()
	}
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", newest, err)
	}
	return m, nil
}

func decodeManifest(text []byte) (*Manifest, error) {
	var e envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(e.Manifest)
	if hex.EncodeToString(sum[:]) != e.SHA256 {
		return nil, errors.New("its SHA-256 is another one")
	}
	var m Manifest
	decoder := json.NewDecoder(bytes.NewReader(e.Manifest))
	if err := decoder.Decode(&m); err != nil {
		return nil, err
	}
	return &m, nil
}

// check proves that the blocks lie one behind the other, from the log's begin to its end.
func (m *Manifest) check() error {
	if m.Format != formatVersion {
		return fmt.Errorf("its format is %d, and this rapport knows %d: run a newer one", m.Format, formatVersion)
	}
	next, events := int64(1), int64(0)
	for _, b := range m.Blocks {
		switch {
		case b.First > next:
			return fmt.Errorf("no block has the positions %d to %d", next, b.First-1)
		case b.First < next:
			return fmt.Errorf("%s overlaps the block before it", b.Object)
		case b.Last < b.First || b.Events < 0 || b.Events > b.Last-b.First+1:
			return fmt.Errorf("%s can't have %d events", b.Object, b.Events)
		}
		next, events = b.Last+1, events+b.Events
	}
	if next != m.Position+1 || events != m.Events {
		return fmt.Errorf("it has %d events up to position %d, the blocks have %d up to %d", m.Events, m.Position, events, next-1)
	}
	return nil
}

// readError says that an object can't be read.
func readError(object string, err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		return fmt.Errorf("%s is missing: a running server may have replaced it just now; if it is missing again, the archive is damaged", object)
	}
	return fmt.Errorf("reading %s: %w", object, err)
}
