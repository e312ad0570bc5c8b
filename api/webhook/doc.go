// Package webhook understands what arrives at POST /webhook: a [Verifier]
// tells whose a delivery is, if anybody's, and [Decode] turns every wire shape
// into a [rapport.Event].
//
// The package is pure. It does no I/O and reads no clock.
package webhook
