package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// disk is the file layer. osDisk is the real one; tests inject faults.
// Its errors are those of package os.
type disk interface {
	makeDir(dir string) error
	list(dir string) ([]string, error) // the names of the regular files
	size(path string) (int64, error)
	create(path string) (file, error)    // for writing; must not exist
	overwrite(path string) (file, error) // for writing, from the begin of what may be there
	open(path string) (file, error)      // for reading
	rename(from, to string) error
	remove(path string) error
	truncate(path string, size int64) error
	syncDir(dir string) error
	free(dir string) (int64, error) // bytes that this user may still write
}

type file interface {
	io.ReaderAt
	io.Writer
	io.Closer
	Sync() error
}

type osDisk struct{}

func (osDisk) makeDir(dir string) error               { return os.Mkdir(dir, 0o700) }
func (osDisk) rename(from, to string) error           { return os.Rename(from, to) }
func (osDisk) remove(path string) error               { return os.Remove(path) }
func (osDisk) truncate(path string, size int64) error { return os.Truncate(path, size) }
func (osDisk) open(path string) (file, error)         { return opened(os.Open(path)) }

func (osDisk) create(path string) (file, error) {
	return opened(os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600))
}

func (osDisk) overwrite(path string) (file, error) {
	return opened(os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600))
}

// opened has no file that is a nil pointer but not nil.
func opened(f *os.File, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (osDisk) list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func (osDisk) size(path string) (int64, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (osDisk) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osDisk) free(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// makeDirs makes dir and the directories above it that are missing, durably.
func makeDirs(d disk, dir string) error {
	parent := filepath.Dir(dir)
	err := d.makeDir(dir)
	if errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err := makeDirs(d, parent); err != nil {
			return err
		}
		err = d.makeDir(dir)
	}
	if errors.Is(err, fs.ErrExist) {
		// A crash may have come before it was synced. If it was not made by us,
		// we may not be allowed to.
		_ = d.syncDir(parent)
		return nil
	}
	if err != nil {
		return err
	}
	return d.syncDir(parent)
}

// isFull reports whether err says that the disk, or a quota on it, is used up.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
