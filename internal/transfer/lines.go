package transfer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// errLong says that a line is longer than any event.
var errLong = errors.New("the line is too long for an event")

// lines reads a line at a time.
type lines struct {
	in     *bufio.Reader
	max    int64
	number int64 // of the last line, from 1
}

func newLines(in io.Reader, maxBytes int64) *lines {
	return &lines{in: bufio.NewReaderSize(in, 1<<16), max: maxBytes}
}

// next is the next line without its end, nil if there is nothing but white space in it;
// errLong if it is too long, and then it is passed over.
func (l *lines) next() ([]byte, error) {
	var text []byte
	long := false
	for {
		part, err := l.in.ReadSlice('\n')
		if int64(len(text)+len(part)) > l.max {
			long = true
			text = nil
		}
		if !long {
			text = append(text, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && (err != io.EOF || len(text) == 0 && !long) {
			return nil, err
		}
		break
	}
	l.number++
	if long {
		return nil, errLong
	}
	if l.number == 1 {
		text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // as some editors begin a file
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	return text, nil
}

// decompress reads gzip and zstd, which it knows by their beginning.
func decompress(in io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(in, 1<<16)
	head, _ := buffered.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		plain, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, fmt.Errorf("reading gzip: %w", err)
		}
		return plain, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		plain, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, fmt.Errorf("reading zstd: %w", err)
		}
		return plain.IOReadCloser(), nil
	}
	return io.NopCloser(buffered), nil
}
