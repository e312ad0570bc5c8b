package store

import (
	"slices"
	"sort"
	"time"
)

// piece is a stretch of time that rows of one grain make up; of grain 0, one of less
// than a quarter hour, which has no row.
type piece struct {
	grain       int16
	since, till time.Time
}

// pieces cut a stretch of time into the greatest grains that fit.
func pieces(since, till time.Time, among []int16) []piece {
	if !since.Before(till) {
		return nil
	}
	if len(among) == 0 {
		return []piece{{0, since, till}}
	}
	greatest, smaller := among[len(among)-1], among[:len(among)-1]
	from, to := grainEnd(greatest, since), grainStart(greatest, till)
	if !from.Before(to) {
		return pieces(since, till, smaller)
	}
	return slices.Concat(pieces(since, from, smaller), []piece{{greatest, from, to}}, pieces(to, till, smaller))
}

// grainEnd is the first begin of a quarter hour, an hour or a day that is not before a time.
func grainEnd(grain int16, at time.Time) time.Time {
	start := grainStart(grain, at)
	if start.Equal(at) {
		return start
	}
	return start.Add(time.Duration(grain) * time.Minute)
}

// piecesOf are those of all buckets; where two of a grain follow each other, they are
// one. The ones without rows are returned beside them.
func piecesOf(bounds []time.Time) (whole, ragged []piece) {
	last := make(map[int16]int) // index of the last one of a grain
	for i := range len(bounds) - 1 {
		for _, p := range pieces(bounds[i], bounds[i+1], grains) {
			list := &whole
			if p.grain == 0 {
				list = &ragged
			}
			if at, ok := last[p.grain]; ok && (*list)[at].till.Equal(p.since) {
				(*list)[at].till = p.till
				continue
			}
			last[p.grain] = len(*list)
			*list = append(*list, p)
		}
	}
	return whole, ragged
}

// bucketOf is the index of the bucket that a time within the bounds is in.
func bucketOf(bounds []time.Time, at time.Time) int {
	return sort.Search(len(bounds), func(i int) bool { return bounds[i].After(at) }) - 1
}

// pieceColumns are pieces as parameters of a query.
func pieceColumns(list []piece) (grains []int16, since, till []time.Time) {
	grains, since, till = []int16{}, []time.Time{}, []time.Time{}
	for _, p := range list {
		grains, since, till = append(grains, p.grain), append(since, p.since), append(till, p.till)
	}
	return grains, since, till
}
