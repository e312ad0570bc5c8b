package reference

import (
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"

	"rapport"
)

// counted leaves out the healed messages that were delivered after all.
//
// Let every healed message be the row of a matrix, and every delivered one a
// column: where the two may pair stands a number of no relation to the others,
// elsewhere 0. Healed messages can all have partners at once exactly if their rows
// are linearly independent (Edmonds; with random numbers modulo a prime it fails
// once in 10^15). So taking the rows in order, those that depend on the ones before
// them are the messages without a partner.
func counted(sorted []rapport.Event) []rapport.Event {
	var delivered []rapport.Event
	for _, e := range sorted {
		if e.Type == rapport.ChatPush && e.HealedFrom == "" {
			delivered = append(delivered, e)
		}
	}
	var kept []rapport.Event
	var basis [][]*big.Int
	for _, e := range sorted {
		if e.Type != rapport.ChatPush || e.HealedFrom == "" {
			kept = append(kept, e)
			continue
		}
		rest := reduce(pairRow(e, delivered), basis)
		if leading(rest) < 0 {
			kept = append(kept, e)
		} else {
			basis = append(basis, rest)
		}
	}
	return kept
}

// prime is what the numbers are taken modulo.
var prime = new(big.Int).SetUint64(1<<61 - 1)

func pairRow(healed rapport.Event, delivered []rapport.Event) []*big.Int {
	row := make([]*big.Int, len(delivered))
	for i, d := range delivered {
		row[i] = new(big.Int)
		if mayPair(healed, d) {
			random := sha256.Sum256(slices.Concat(healed.Fingerprint[:], d.Fingerprint[:]))
			row[i].SetUint64(1 + binary.BigEndian.Uint64(random[:8])%(1<<61-2))
		}
	}
	return row
}

func mayPair(healed, delivered rapport.Event) bool {
	apart := micros(healed) - micros(delivered)
	return healed.Role == delivered.Role && strings.HasPrefix(delivered.Text, healed.Text) &&
		-1_000_000 <= apart && apart <= 1_000_000
}

// reduce takes from a row what the rows of the basis explain of it: each has a
// leading column of its own.
func reduce(row []*big.Int, basis [][]*big.Int) []*big.Int {
	for _, b := range basis {
		at := leading(b)
		factor := new(big.Int).ModInverse(b[at], prime)
		factor.Mod(factor.Mul(factor, row[at]), prime)
		for i := range row {
			part := new(big.Int).Mul(factor, b[i])
			row[i].Mod(row[i].Sub(row[i], part), prime)
		}
	}
	return row
}

// leading is the first column of a row that is not 0, -1 if all are.
func leading(row []*big.Int) int {
	return slices.IndexFunc(row, func(n *big.Int) bool { return n.Sign() != 0 })
}
