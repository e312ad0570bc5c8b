package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
)

// The files beside the segments.
const (
	idFile      = "id"
	drainedFile = "drained"

	temporarySuffix = ".tmp"
)

// maxMark is more than any mark's length in bytes.
const maxMark = 128

// markLine is what a file of one value contains.
func markLine(value string) string {
	return fmt.Sprintf("%s %08x\n", value, crc32.Checksum([]byte(value), castagnoli))
}

// writeMark replaces the file by one of this value, durably, or leaves the old one.
func writeMark(d disk, dir, name, value string) error {
	path := filepath.Join(dir, name)
	if err := writeTemporary(d, path+temporarySuffix, markLine(value)); err != nil {
		return err
	}
	if err := d.rename(path+temporarySuffix, path); err != nil {
		return err
	}
	return d.syncDir(dir)
}

// writeTemporary needs no space on the disk if such a file is there already.
func writeTemporary(d disk, path, line string) error {
	f, err := d.overwrite(path)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(line))
	if err == nil {
		err = d.truncate(path, int64(len(line))) // the one before may have been longer
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// spareMark makes ready for the next writeMark of a value of the same length. It must
// be possible on a full disk: nothing can be deleted before. Without the file it is
// possible on others all the same, so errors don't matter.
func spareMark(d disk, dir, name, value string) {
	f, err := d.overwrite(filepath.Join(dir, name+temporarySuffix))
	if err == nil {
		_, _ = f.Write([]byte(markLine(value)))
		_ = f.Close()
	}
}

// readMark returns the value of the file; "" if it is missing or does not check.
func readMark(d disk, dir, name string) (string, error) {
	f, err := d.open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	buf := make([]byte, maxMark)
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	value, _, _ := strings.Cut(string(buf[:n]), " ")
	if string(buf[:n]) != markLine(value) {
		return "", nil
	}
	return value, nil
}
