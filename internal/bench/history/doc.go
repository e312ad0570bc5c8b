// Package history makes up a long log of conversations, so that questions can be
// measured on as many of them as a year brings: months of sessions with agents of
// very different size, in the sender's three wire shapes.
//
// A seed decides everything: equal plans give equal logs, to the byte. Events are
// decoded from their bodies by the decoder itself, so that `rapport verify` proves
// the log as any other.
package history
