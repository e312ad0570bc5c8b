// Package embedpg runs a private Postgres out of the machine's own binaries: for
// the start without configuration, and for the tests.
//
// A data directory, with what this package keeps in it:
//
//	lock             held by the one Rapport that uses the directory; has its pid
//	postgres/        the cluster, with its logs in postgres/log
//	run/             the socket, unless its path would be too long
//	postgresql.conf  settings, written at every start
//	pg_hba.conf      who may connect, written at every start
//	start.log        what Postgres said before its log was open
//	reader.password  of rapport_reader over TCP, once that was asked for
//
// Started by root, Postgres runs as another user, who owns postgres/ and run/ and
// nothing else: what root writes or runs must not lie where that user can
// replace it.
package embedpg
