// Package rules decides what is to be told to whom when something happens: it reads
// rules.yaml, and matches occasions against its rules.
//
// The package is pure but for reading the file and the environment variables that the
// file names. It has no clock, no database and no network: times come with the
// [Occasion], what is remembered from one to the next is in a [Memory], and what only
// some conditions ask for is asked of a [Background]. Equal occasions in equal order,
// on equal memories, give equal firings.
//
// docs/rules.md is the reference of the file.
package rules
