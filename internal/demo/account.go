package demo

import (
	"maps"
	"slices"
	"time"
)

type accountEvent struct {
	ID      string      `json:"id"`
	Event   string      `json:"event"`
	Created int64       `json:"created"` // unix seconds
	Data    accountData `json:"data"`
}

type accountData struct {
	AgentID string `json:"agent_id"`
	Code    string `json:"code"`
	Reason  string `json:"reason,omitempty"`
}

// accountEvents tell that each agent was made ready before its first
// conversation. Every other one failed on the first try.
func accountEvents(conversations []*conversation, ids *ids) []delivery {
	first := map[string]time.Time{}
	for _, c := range conversations {
		if at, ok := first[c.agentID]; !ok || c.startedAt.Before(at) {
			first[c.agentID] = c.startedAt
		}
	}
	var all []delivery
	for i, agent := range slices.Sorted(maps.Keys(first)) {
		ready := first[agent].Add(-between(ids.rng, time.Minute, 5*time.Minute))
		all = append(all, accountDelivery("agent.ready", agent, "", ready, ids))
		if i%2 == 1 {
			failed := ready.Add(-between(ids.rng, time.Minute, 5*time.Minute))
			all = append(all, accountDelivery("agent.failed", agent, "The portrait has no face in it.", failed, ids))
		}
	}
	return all
}

func accountDelivery(event, agent, reason string, at time.Time, ids *ids) delivery {
	body := accountEvent{
		ID: "evt_" + ids.letters(16), Event: event, Created: at.Unix(),
		Data: accountData{AgentID: agent, Code: agent, Reason: reason},
	}
	return delivery{
		at: at.Truncate(time.Second), generation: account, event: event, id: body.ID, body: encode(body),
	}
}
