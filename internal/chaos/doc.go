// Package chaos is the fault rig: it starts the program as a user does, beside a
// real Postgres, kills, freezes, cuts and fills what lies between a delivery and
// its row, and proves after each round that nothing was lost or doubled.
//
// A Trial is one run of a Scenario, in a directory of its own. Deliveries are sent
// as the sender does, each tried once; a ledger keeps what was answered. After a
// round, once the spools are drained and the rollups have caught up,
//
//   - every delivery that was answered 200 is in the log exactly once, to the byte,
//     at the position that the answer told;
//   - every delivery that was answered otherwise, or not at all, is there once at most;
//   - positions run from 1 to the head without a gap, and the log has nothing else;
//   - every body that was answered 422 is in the quarantine, and nothing else is;
//   - `rapport verify` finds no difference.
//
// Choices follow from a seed, which is printed; the timing of real processes does
// not.
package chaos
