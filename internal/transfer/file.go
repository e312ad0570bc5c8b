package transfer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// newFile is a file that is in its place only once it is complete and on the disk.
// Until then nobody sees it under its name, and what was there stays. It is its owner's
// alone: there may be personal data in it.
type newFile struct {
	*os.File
	path string
}

func createFile(path string) (*newFile, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file that could be replaced: use - for standard output", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	return &newFile{f, path}, nil
}

// keep puts the file into its place.
func (f *newFile) keep() error {
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("writing %s: %w", f.path, err)
	}
	return syncDir(filepath.Dir(f.path))
}

// drop forgets the file.
func (f *newFile) drop() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// isDir tells of an --out that is a directory: one that is there, or a name without an
// extension.
func isDir(out string) bool {
	if info, err := os.Stat(out); err == nil {
		return info.IsDir()
	}
	return os.IsPathSeparator(out[len(out)-1]) || filepath.Ext(out) == ""
}
