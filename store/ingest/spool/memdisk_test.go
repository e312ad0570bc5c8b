package spool

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// memDisk is a disk in memory that knows what would survive a loss of power: what
// was synced, and of the rest as much as chance wants. It has one directory.
type memDisk struct {
	mu       sync.Mutex
	made     bool
	names    map[string]*inode // by path
	durable  map[string]*inode // as of the last syncDir
	journal  []func(map[string]*inode)
	capacity int64 // bytes; 0 is no bound
}

type inode struct{ data, synced []byte }

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*inode{}, durable: map[string]*inode{}}
}

// crash returns the disk after a loss of power. chance(n) is a number below n.
func (d *memDisk) crash(chance func(n int) int) *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newMemDisk()
	after.made, after.capacity = d.made, d.capacity
	names := maps.Clone(d.durable)
	for _, change := range d.journal { // not every file system keeps their order
		if chance(2) == 1 {
			change(names)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		data := survivor(names[path], chance)
		after.names[path] = &inode{data: data, synced: bytes.Clone(data)}
	}
	after.durable = maps.Clone(after.names)
	return after
}

func survivor(node *inode, chance func(n int) int) []byte {
	if !bytes.HasPrefix(node.data, node.synced) {
		return bytes.Clone([][]byte{node.data, node.synced}[chance(2)])
	}
	fresh := node.data[len(node.synced):]
	data := append(bytes.Clone(node.synced), fresh[:chance(len(fresh)+1)]...)
	if chance(3) == 0 { // the length came to the disk, the last bytes did not
		clear(data[len(node.synced)+chance(len(data)-len(node.synced)+1):])
	}
	return data
}

func (d *memDisk) change(f func(map[string]*inode)) {
	f(d.names)
	d.journal = append(d.journal, f)
}

func (d *memDisk) makeDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.made {
		return fs.ErrExist
	}
	d.made = true
	return nil
}

func (d *memDisk) list(string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for path := range d.names {
		names = append(names, filepath.Base(path))
	}
	return names, nil
}

func (d *memDisk) size(path string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	node := d.names[path]
	if node == nil {
		return 0, fs.ErrNotExist
	}
	return int64(len(node.data)), nil
}

func (d *memDisk) create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[path] != nil {
		return nil, fs.ErrExist
	}
	return d.empty(path), nil
}

func (d *memDisk) overwrite(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[path] != nil {
		return &memFile{disk: d, node: d.names[path]}, nil
	}
	return d.empty(path), nil
}

func (d *memDisk) empty(path string) file {
	node := &inode{}
	d.change(func(names map[string]*inode) { names[path] = node })
	return &memFile{disk: d, node: node}
}

func (d *memDisk) open(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[path] == nil {
		return nil, fs.ErrNotExist
	}
	return &memFile{disk: d, node: d.names[path]}, nil
}

func (d *memDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[from] == nil {
		return fs.ErrNotExist
	}
	d.change(func(names map[string]*inode) {
		if names[from] != nil {
			names[to] = names[from]
			delete(names, from)
		}
	})
	return nil
}

func (d *memDisk) remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[path] == nil {
		return fs.ErrNotExist
	}
	d.change(func(names map[string]*inode) { delete(names, path) })
	return nil
}

func (d *memDisk) truncate(path string, size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	node := d.names[path]
	if node == nil {
		return fs.ErrNotExist
	}
	node.data = bytes.Clone(node.data[:size])
	return nil
}

func (d *memDisk) syncDir(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dir != "/spool" {
		return nil
	}
	d.durable, d.journal = maps.Clone(d.names), nil
	return nil
}

func (d *memDisk) used() int64 {
	var n int64
	for _, node := range d.names {
		n += int64(len(node.data))
	}
	return n
}

func (d *memDisk) free(string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.capacity == 0 {
		return 1 << 40, nil
	}
	return d.capacity - d.used(), nil
}

type memFile struct {
	disk *memDisk
	node *inode
	pos  int // of the next write
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if off > int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.node.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(b []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	grows := max(0, f.pos+len(b)-len(f.node.data))
	if f.disk.capacity > 0 && f.disk.used()+int64(grows) > f.disk.capacity {
		return 0, syscall.ENOSPC
	}
	data := append(bytes.Clone(f.node.data), make([]byte, grows)...)
	copy(data[f.pos:], b)
	f.node.data = data
	f.pos += len(b)
	return len(b), nil
}

func (f *memFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.node.synced = bytes.Clone(f.node.data)
	return nil
}

func (f *memFile) Close() error { return nil }

var errInjected = errors.New("injected")

// How an operation fails.
const (
	notKept  = iota // it did nothing
	keptAll         // it did all, although it says no
	keptHalf        // of a write, half
)

// faultyDisk fails operations that it chooses by their number, from 0.
type faultyDisk struct {
	disk
	mu   sync.Mutex
	ops  int
	fail func(op int) bool
	how  int
	err  error
}

// op does an operation, or fails.
func (d *faultyDisk) op(do func() error) error {
	err := d.chosen()
	if err == nil {
		return do()
	}
	if d.how == keptAll {
		_ = do()
	}
	return err
}

func (d *faultyDisk) chosen() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops++
	if d.fail == nil || !d.fail(d.ops-1) {
		return nil
	}
	if d.err != nil {
		return d.err
	}
	return errInjected
}

func (d *faultyDisk) opened(open func() (file, error)) (f file, err error) {
	err = d.op(func() error {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d}, nil
}

func (d *faultyDisk) makeDir(dir string) error {
	return d.op(func() error { return d.disk.makeDir(dir) })
}

func (d *faultyDisk) list(dir string) (names []string, err error) {
	err = d.op(func() error { names, err = d.disk.list(dir); return err })
	return names, err
}

func (d *faultyDisk) size(path string) (n int64, err error) {
	err = d.op(func() error { n, err = d.disk.size(path); return err })
	return n, err
}

func (d *faultyDisk) create(path string) (file, error) {
	return d.opened(func() (file, error) { return d.disk.create(path) })
}

func (d *faultyDisk) overwrite(path string) (file, error) {
	return d.opened(func() (file, error) { return d.disk.overwrite(path) })
}

func (d *faultyDisk) open(path string) (file, error) {
	return d.opened(func() (file, error) { return d.disk.open(path) })
}

func (d *faultyDisk) rename(from, to string) error {
	return d.op(func() error { return d.disk.rename(from, to) })
}

func (d *faultyDisk) remove(path string) error {
	return d.op(func() error { return d.disk.remove(path) })
}

func (d *faultyDisk) truncate(path string, size int64) error {
	return d.op(func() error { return d.disk.truncate(path, size) })
}

func (d *faultyDisk) syncDir(dir string) error {
	return d.op(func() error { return d.disk.syncDir(dir) })
}

func (d *faultyDisk) free(dir string) (n int64, err error) {
	err = d.op(func() error { n, err = d.disk.free(dir); return err })
	return n, err
}

type faultyFile struct {
	file
	disk *faultyDisk
}

func (f *faultyFile) ReadAt(b []byte, off int64) (n int, err error) {
	err = f.disk.op(func() error { n, err = f.file.ReadAt(b, off); return err })
	return n, err
}

func (f *faultyFile) Write(b []byte) (n int, err error) {
	done := false
	err = f.disk.op(func() error { done = true; n, err = f.file.Write(b); return err })
	if err != nil && !done && f.disk.how == keptHalf {
		n, _ = f.file.Write(b[:len(b)/2])
	}
	return n, err
}

func (f *faultyFile) Sync() error { return f.disk.op(f.file.Sync) }

func (f *faultyFile) Close() error { return f.disk.op(f.file.Close) }
