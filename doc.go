// Package rapport is the vocabulary and the rules of conversations with
// avatars: what an [Event] is, how events are cut into sessions, and how every
// number of a [Session] is computed.
//
// The package is pure. It does no I/O, reads no clock and takes no context:
// a session's numbers are a function of the set of its events and of
// [Settings], whoever computes them, in whatever order the events arrived.
// Inside, everything is an integer (microseconds, thousandths), so that equal
// sets give equal numbers to the last digit.
package rapport
