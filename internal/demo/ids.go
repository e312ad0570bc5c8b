package demo

import (
	"fmt"
	"math/rand/v2"
)

// ids makes up ids as senders form them.
type ids struct{ rng *rand.Rand }

// newIDs makes those of a day. The same conversations, sent again later, must
// not mix with those before: so ids depend on the time too.
func newIDs(p plan) *ids {
	return &ids{rand.New(rand.NewPCG(p.seed, uint64(p.now.UnixNano())))}
}

func (g *ids) letters(n int) string {
	const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
	id := make([]byte, n)
	for i := range id {
		id[i] = alphabet[g.rng.IntN(len(alphabet))]
	}
	return string(id)
}

// uuid is a random one, of version 4.
func (g *ids) uuid() string {
	high, low := g.rng.Uint64(), g.rng.Uint64()
	high = high&^0xf000 | 0x4000
	low = low&^(3<<62) | 2<<62
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", high>>32, high>>16&0xffff, high&0xffff, low>>48, low&(1<<48-1))
}
