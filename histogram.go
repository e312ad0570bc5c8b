package rapport

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strconv"
)

// Histogram tells how often values fell into bins that are at most 1/64 of their
// values wide, so that quantiles are within 1 %; below 128 each integer has a bin of
// its own. The bins are those of HdrHistogram (Gil Tene): 64 of them in an octave.
//
// Histograms of parts add up to that of the whole, and can be taken away from it
// again. It holds only the bins that are not empty; the zero value is empty.
type Histogram struct {
	bins []histogramBin // by index; no count is 0
}

type histogramBin struct {
	index int16
	count int64
}

const (
	subBins    = 64 // of an octave
	subBinBits = 6
)

// binOf is the index of a value's bin: 64 for each time that the value has to be
// halved until it is below 128, plus what is left of it. Negative values are as 0.
func binOf(value int64) int16 {
	if value < 0 {
		value = 0
	}
	halved := max(0, bits.Len64(uint64(value))-subBinBits-1)
	return int16(halved*subBins) + int16(value>>halved)
}

// binValue is the value in the middle of a bin.
func binValue(index int16) int64 {
	halved := max(0, int(index)/subBins-1)
	least := int64(int(index)-halved*subBins) << halved
	return least + int64(1)<<halved/2
}

// maxBin is the bin of the greatest int64.
const maxBin = (63-subBinBits-1)*subBins + 2*subBins - 1

// Add counts a value; a negative one as 0.
func (h *Histogram) Add(value int64) {
	h.merge([]histogramBin{{binOf(value), 1}}, 1)
}

// Merge adds what another one has counted.
func (h *Histogram) Merge(other Histogram) { h.merge(other.bins, 1) }

// MergeAll adds what many others have counted: in a place for each bin there can be,
// for which a few are not worth it.
func (h *Histogram) MergeAll(others []Histogram) {
	if len(others) < 4 {
		for _, other := range others {
			h.Merge(other)
		}
		return
	}
	var counts [maxBin + 1]int64
	first, last := int16(maxBin), int16(0)
	for _, of := range append(others, *h) {
		for _, b := range of.bins {
			counts[b.index] += b.count
		}
		if n := len(of.bins); n > 0 {
			first, last = min(first, of.bins[0].index), max(last, of.bins[n-1].index)
		}
	}
	h.bins = filledBins(counts[:], first, last)
}

// filledBins are those from first to last that have a count; nil if none has.
func filledBins(counts []int64, first, last int16) []histogramBin {
	filled := 0
	for index := first; index <= last; index++ {
		if counts[index] != 0 {
			filled++
		}
	}
	if filled == 0 {
		return nil
	}
	bins := make([]histogramBin, 0, filled)
	for index := first; index <= last; index++ {
		if n := counts[index]; n != 0 {
			bins = append(bins, histogramBin{index, n})
		}
	}
	return bins
}

// Sub takes away what another one has counted.
func (h *Histogram) Sub(other Histogram) { h.merge(other.bins, -1) }

// merge never writes into the old bins: a copy of h may have them too.
func (h *Histogram) merge(other []histogramBin, sign int64) {
	if len(other) == 0 {
		return
	}
	if len(h.bins) == 0 && sign == 1 {
		h.bins = other
		return
	}
	merged := make([]histogramBin, 0, len(h.bins)+len(other))
	put := func(b histogramBin) {
		if b.count != 0 {
			merged = append(merged, b)
		}
	}
	mine := h.bins
	for _, b := range other {
		for len(mine) > 0 && mine[0].index < b.index {
			put(mine[0])
			mine = mine[1:]
		}
		b.count *= sign
		if len(mine) > 0 && mine[0].index == b.index {
			b.count += mine[0].count
			mine = mine[1:]
		}
		put(b)
	}
	h.bins = append(merged, mine...)
	if len(h.bins) == 0 {
		h.bins = nil
	}
}

// Count is how many values were counted.
func (h Histogram) Count() int64 {
	var n int64
	for _, b := range h.bins {
		n += b.count
	}
	return n
}

// Bins is how many bins are not empty.
func (h Histogram) Bins() int { return len(h.bins) }

// IsZero reports whether nothing was counted.
func (h Histogram) IsZero() bool { return len(h.bins) == 0 }

// Equal reports whether two have counted the same.
func (h Histogram) Equal(other Histogram) bool { return slices.Equal(h.bins, other.bins) }

// Quantile is the least value that at least the part q (0…1) of all values does not
// exceed (the nearest rank), within 1 %; exact below 128. It is false if nothing was
// counted. q is taken as the decimal that it is written as: 0.07 of 100 is 7.
func (h Histogram) Quantile(q float64) (int64, bool) {
	n := h.Count()
	if n <= 0 {
		return 0, false
	}
	rank := nearestRank(q, n)
	var seen int64
	for _, b := range h.bins {
		if seen += b.count; seen >= rank {
			return binValue(b.index), true
		}
	}
	return binValue(h.bins[len(h.bins)-1].index), true
}

// nearestRank is ⌈q·n⌉, and at least 1.
func nearestRank(q float64, n int64) int64 {
	const parts, most = 1000, 1 << 50 // of a thousandth, all fits into an int64
	if whole := math.Round(q * parts); whole/parts == q && 0 < q && q <= 1 && n <= most {
		return (int64(whole)*n + parts - 1) / parts
	}
	part, ok := new(big.Rat).SetString(strconv.FormatFloat(q, 'g', -1, 64))
	if !ok || part.Sign() <= 0 {
		return 1
	}
	part.Mul(part, new(big.Rat).SetInt64(n))
	rank := new(big.Int).Add(part.Num(), part.Denom())
	rank.Sub(rank, big.NewInt(1)).Quo(rank, part.Denom())
	if !rank.IsInt64() {
		return n
	}
	return min(max(rank.Int64(), 1), n)
}

// Columns are the bins that are not empty, in order, and the count of each: what a
// database stores. The value in the middle of a bin b is, with s = max(0, b/64 − 1),
// (b − 64·s)·2^s + 2^s/2, in integers.
func (h Histogram) Columns() (bins []int16, counts []int64) {
	bins, counts = make([]int16, len(h.bins)), make([]int64, len(h.bins))
	for i, b := range h.bins {
		bins[i], counts[i] = b.index, b.count
	}
	return bins, counts
}

// HistogramOf is the one that has such Columns. Others are an error.
func HistogramOf(bins []int16, counts []int64) (Histogram, error) {
	if len(bins) != len(counts) {
		return Histogram{}, fmt.Errorf("a histogram of %d bins and %d counts", len(bins), len(counts))
	}
	if len(bins) == 0 {
		return Histogram{}, nil
	}
	h := Histogram{bins: make([]histogramBin, len(bins))}
	for i, bin := range bins {
		if bin < 0 || bin > maxBin || counts[i] == 0 || i > 0 && bin <= bins[i-1] {
			return Histogram{}, errors.New("a histogram whose bins are out of order, out of range or empty")
		}
		h.bins[i] = histogramBin{bin, counts[i]}
	}
	return h, nil
}
