package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// freeAddress is an address on loopback for a server that may be away now and then.
// Its port is below those that the kernel gives to connections: one of them could
// take it meanwhile, or even be connected with itself.
func (r *Rig) freeAddress() (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := net.Listen("tcp", addr)
		if r.ports[port] || err != nil {
			if err == nil {
				_ = listener.Close()
			}
			continue
		}
		r.ports[port] = true
		return addr, listener.Close()
	}
	return "", errors.New("no port is free from 20000 to 31999")
}
