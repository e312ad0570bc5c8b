// Package conformance proves a running server by conversations: it turns
// dialogues into webhook deliveries of every wire generation, sends them in any
// order and some of them twice, and compares the sessions that the server then
// shows, field by field, with a computation of its own (internal/reference).
package conformance
