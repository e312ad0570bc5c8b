package demo

import (
	"encoding/json"
	"time"
)

// generation is one of the three that the sender has had for its deliveries:
// their shapes, and what proves them.
type generation string

const (
	legacy  generation = "legacy"
	current generation = "current"
	account generation = "account"
)

// delivery is one webhook, to be sent.
type delivery struct {
	at         time.Time // of the event, as the body tells it
	generation generation
	event      string // of an account event, its type
	id         string // of an account event
	body       []byte
}

func (c *conversation) deliveries(ids *ids) []delivery {
	if c.script.site.generation == legacy {
		return c.legacyDeliveries(ids)
	}
	return c.currentDeliveries()
}

// encode writes a body. The values are our own, of types that JSON can hold.
func encode(body any) []byte {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return encoded
}
