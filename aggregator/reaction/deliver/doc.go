// Package deliver tells destinations what the rules have to tell them: Slack channels and
// HTTP endpoints.
//
// A delivery is enqueued in the transaction of the step that fired it (store.Tx.Enqueue),
// and carried by River, at least once and under one id for ever. Each destination has a
// queue, workers, connections and a circuit breaker of its own, in each process, so that
// one that is dead or hangs slows nobody else down.
//
//   - A delivery that fails is tried again, with exponential backoff and jitter, until it
//     has been tried as often as it may be. Then it is dead, and kept until somebody has it
//     tried again or deletes it (GET /dead-letters).
//   - While the breaker is open, or the destination has asked us to wait (429), deliveries
//     wait without using an attempt up.
//   - Of a process that is killed, what was under way is tried again by another, after
//     45 s. A stop gives what is under way 1 s, and then calls it back without using an
//     attempt up.
//   - Erasures delete deliveries whatever their state: what is not there any more when its
//     turn comes isn't sent.
//
// Jobs and tables have a destination's name; where that is, and its secrets, only the
// process knows.
package deliver
