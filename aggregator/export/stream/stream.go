// Package stream passes the log on: to Kinesis, or to an HTTP endpoint as CloudEvents.
//
// Each stream has a name, a destination and a position of its own. One process at a time
// sends it: it reads the log in order, sends outside of any transaction, and moves the
// position once the destination has acknowledged. So every event arrives at least once,
// an event of a session never before an earlier one of it, and whoever is killed, frozen
// or cut off is replaced by another process, which goes on at the position.
//
// What is sent is an event as GET /events tells it. What was erased is a stub, and an
// announcement (type rapport.erased) says what is to be erased downstream; it comes after
// all that it is about. Retention waits for no stream.
//
// A new kind of destination is a Sink, and a case of Open.
package stream

import (
	"context"
	"errors"
	"fmt"
)

// Sink is a destination.
type Sink interface {
	// Send sends records, which are in the order of the log. It returns nil once all of
	// them are acknowledged, and a *PartialError if some are. Of any other error nothing
	// is known: all will be sent again.
	//
	// A record never goes out before an earlier one of its session is acknowledged, and
	// one that is Alone not before all earlier ones, nor later ones before it.
	Send(ctx context.Context, records []*Record) error
}

// PartialError says which records of a Send are not acknowledged.
type PartialError struct {
	Rest     []*Record // in the order of the log; all others are acknowledged
	TooLarge []*Record // of them, those that the destination will never take as they are
	Err      error     // why; ErrTooLarge if nothing else was in the way
}

// Error tells why.
func (e *PartialError) Error() string {
	return fmt.Sprintf("%d records are not acknowledged: %v", len(e.Rest), e.Err)
}

// Unwrap gives the reason.
func (e *PartialError) Unwrap() error { return e.Err }

// ErrTooLarge says that a record is larger than the destination takes.
var ErrTooLarge = errors.New("larger than the destination takes")
