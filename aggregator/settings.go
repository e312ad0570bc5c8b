package aggregator

import "rapport"

// Settings are those that the sessions are folded with.
func (p *Sessions) Settings() rapport.Settings { return p.fold.Settings() }

// With is the projection with other settings; ErrSettings if this binary's
// formulas are of another version.
func (p *Sessions) With(settings rapport.Settings) (Projection, error) {
	sessions, err := NewSessions(settings)
	if err != nil {
		return nil, err
	}
	return sessions, nil
}
