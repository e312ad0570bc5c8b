// Package reference computes the numbers of sessions a second time, from
// nothing but their definitions: it sorts all events, leaves out what was healed
// in vain, cuts the rest into windows, and passes over a window once for every
// field, in exact arithmetic.
//
// It is slow and holds everything in memory. Its only use is to be compared
// with the fold, with which it shares no code but the vocabulary.
package reference
