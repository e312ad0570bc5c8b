// Package webhook understands what arrives at POST /webhook: a [Verifier]
// tells whether a delivery is authentic, and [Decode] turns every wire shape
// into a [rapport.Event].
//
// The package is pure. It does no I/O, reads no clock and keeps no state.
package webhook
