// Package verify proves that nothing was lost, doubled or changed: it reads the
// whole log at one moment, in another order than the followers do, decodes every
// payload again, folds every session again, and compares. It writes nothing, and
// runs beside servers at work.
package verify
