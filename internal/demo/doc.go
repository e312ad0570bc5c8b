// Package demo makes up a day of conversations and sends it to a running
// server, so that a newcomer has something to look at.
//
// What is said stands in scripts.txt. A seed decides who says which of it, and
// how fast; the day ends at the moment of the call.
package demo
