package store

import (
	"encoding/binary"
	"errors"

	"rapport"
)

// histogramReader reads the histograms of many rows of session_totals. They are the
// larger part of a row, and of a month there are tens of thousands of numbers, for
// which the general way costs more than all the rest of a question.
type histogramReader struct {
	bins   []int16
	counts []int64
}

// into reads the four columns of histograms as they came, if they were asked for.
func (r *histogramReader) into(t *rapport.Totals, raw [][]byte) (err error) {
	if len(raw) == 0 {
		return nil
	}
	if t.Duration, err = r.histogram(raw[0], raw[1]); err != nil {
		return err
	}
	t.Response, err = r.histogram(raw[2], raw[3])
	return err
}

func (r *histogramReader) histogram(bins, counts []byte) (h rapport.Histogram, err error) {
	r.bins, r.counts = r.bins[:0], r.counts[:0]
	err = errors.Join(
		elements(bins, 2, func(b []byte) { r.bins = append(r.bins, int16(binary.BigEndian.Uint16(b))) }),
		elements(counts, 8, func(b []byte) { r.counts = append(r.counts, int64(binary.BigEndian.Uint64(b))) }))
	if err != nil {
		return h, err
	}
	return rapport.HistogramOf(r.bins, r.counts)
}

var errArray = errors.New("an array of a histogram is not as Postgres sends arrays")

// elements passes the elements of an array in Postgres's binary format, all of one
// size: the number of dimensions, whether there are nulls, the type, for each dimension its length and
// first index, then each element after its size (array_send in Postgres's sources).
func elements(raw []byte, size int, to func([]byte)) error {
	const head, dimension = 12, 8
	if len(raw) < head {
		return errArray
	}
	dimensions, nulls := binary.BigEndian.Uint32(raw), binary.BigEndian.Uint32(raw[4:])
	if dimensions == 0 {
		return nil
	}
	each := 4 + size
	if dimensions != 1 || nulls != 0 || len(raw) < head+dimension || (len(raw)-head-dimension)%each != 0 {
		return errArray
	}
	for rest := raw[head+dimension:]; len(rest) > 0; rest = rest[each:] {
		if int(binary.BigEndian.Uint32(rest)) != size {
			return errArray
		}
		to(rest[4:each])
	}
	return nil
}
