package api

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"rapport/api/webhook"
	"rapport/store"
)

// Sources are who may deliver: the source that the environment configures, and
// those that are stored, as far as this server knows. Its methods may be used by
// many goroutines.
type Sources struct {
	environment []webhook.Source // one or none
	current     atomic.Pointer[sourceView]

	mu      sync.Mutex
	tallies map[string]*sourceTally // of every source there ever was; guarded by mu
	needed  bool                    // a proof is needed though no source is left; guarded by mu
}

// sourceView is one state of the sources. It doesn't change any more.
type sourceView struct {
	verifier *webhook.Verifier
	of       map[string]*sourceState
}

// sourceState is what happens at deliveries of one source.
type sourceState struct {
	*sourceTally
	expected float64       // deliveries per second; 0: none
	limiter  *rate.Limiter // nil: none
}

// sourceTally counts the deliveries of one source, since the server's start.
type sourceTally struct {
	proven     atomic.Int64
	overRate   atomic.Int64
	provenAt   atomic.Int64 // µs since 1970
	overRateAt atomic.Int64 // µs since 1970; 0: never

	reports rate.Sometimes // of what came above the expected rate
	told    [2]int64       // proven and overRate, as far as the database was told; guarded by Sources.mu
}

// overRateReports is how often the log tells of a source above its rate.
const overRateReports = 10 * time.Second

// NewSources makes Sources of the secrets and tokens that the environment
// configures; they are the source webhook.DefaultSource. Without any, and as long
// as none is stored, every delivery is taken, unless a proof is needed anyway:
// then none is. It is an error if one of them is no proof.
func NewSources(secrets, tokens []string, needed bool) (*Sources, error) {
	s := &Sources{tallies: make(map[string]*sourceTally), needed: needed}
	if len(secrets)+len(tokens) > 0 {
		source, err := webhook.NewSource(webhook.DefaultSource, secrets, tokens)
		if err != nil {
			return nil, err
		}
		s.environment = []webhook.Source{source}
	}
	if err := s.Set(nil); err != nil {
		return nil, err
	}
	return s, nil
}

// Set replaces the stored sources by others. Once a proof was needed it stays so,
// though no source be left: who removes the last one does not open the door.
func (s *Sources) Set(stored []store.Source) error {
	sources := slices.Clone(s.environment)
	expected := make(map[string]float64, len(stored))
	for _, from := range stored {
		source, err := sourceOf(from)
		if err != nil {
			return fmt.Errorf("webhook source %q: %w", from.Name, err)
		}
		sources = append(sources, source)
		expected[from.Name] = from.ExpectedRate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	verifier, err := webhook.VerifierOf(sources)
	if len(sources) == 0 && !s.needed {
		verifier, err = webhook.NewVerifier(nil, nil)
	}
	if err != nil {
		return err
	}
	s.needed = s.needed || len(sources) > 0
	view := &sourceView{verifier: verifier, of: make(map[string]*sourceState, len(sources))}
	for _, source := range sources {
		view.of[source.Name] = s.state(source.Name, expected[source.Name])
	}
	s.current.Store(view)
	return nil
}

// sourceOf is a stored source as deliveries are verified.
func sourceOf(from store.Source) (webhook.Source, error) {
	source := webhook.Source{Name: from.Name, Ranges: from.Ranges}
	if err := webhook.CheckName(from.Name); err != nil {
		return webhook.Source{}, err
	}
	kinds, err := webhook.ParseKinds(strings.Join(from.Kinds, ","))
	if err != nil {
		return webhook.Source{}, err
	}
	source.Kinds = kinds
	for _, proof := range from.Proofs {
		var endsAt time.Time
		if proof.EndsAt != nil {
			endsAt = *proof.EndsAt
		}
		switch {
		case len(proof.Secret) > 0 && len(proof.TokenSHA256) == 0:
			source.Secrets = append(source.Secrets, webhook.Secret{Value: string(proof.Secret), EndsAt: endsAt})
		case len(proof.Secret) == 0 && len(proof.TokenSHA256) == 32:
			source.Tokens = append(source.Tokens, webhook.HashedToken{SHA256: [32]byte(proof.TokenSHA256), EndsAt: endsAt})
		default:
			return webhook.Source{}, errors.New("it has something that is neither a secret nor the SHA-256 of a token")
		}
	}
	return source, nil
}

// state goes on with what there is of a source. It is called under mu.
func (s *Sources) state(name string, expected float64) *sourceState {
	if view := s.current.Load(); view != nil && view.of[name] != nil && view.of[name].expected == expected {
		return view.of[name]
	}
	if s.tallies[name] == nil {
		s.tallies[name] = &sourceTally{reports: rate.Sometimes{First: 1, Interval: overRateReports}}
	}
	state := &sourceState{sourceTally: s.tallies[name], expected: expected}
	if expected > 0 { // what comes within a second may come at once
		burst := int(math.Ceil(min(expected, math.MaxInt32)))
		state.limiter = rate.NewLimiter(rate.Limit(expected), burst)
	}
	return state
}

// AreOpen reports whether every delivery is taken, without proof.
func (s *Sources) AreOpen() bool { return s.current.Load().verifier.IsOpen() }

// Any reports whether there is a source.
func (s *Sources) Any() bool { return len(s.current.Load().of) > 0 }

// count counts a proven delivery, and reports whether it came above the expected
// rate.
func (s *sourceState) count(now time.Time) (overRate bool) {
	s.proven.Add(1)
	s.provenAt.Store(now.UnixMicro())
	if s.limiter == nil || s.limiter.AllowN(now, 1) {
		return false
	}
	s.overRate.Add(1)
	s.overRateAt.Store(now.UnixMicro())
	return true
}

// Untold is what came since the database was told last, of each source that
// something came from.
func (s *Sources) Untold() []store.SourceTally {
	s.mu.Lock()
	defer s.mu.Unlock()
	var untold []store.SourceTally
	for name, tally := range s.tallies {
		told := store.SourceTally{
			Source: name, Proven: tally.proven.Load() - tally.told[0], OverRate: tally.overRate.Load() - tally.told[1],
			ProvenAt: time.UnixMicro(tally.provenAt.Load()).UTC(),
		}
		if at := tally.overRateAt.Load(); at != 0 {
			told.OverRateAt = new(time.UnixMicro(at).UTC())
		}
		if told.Proven > 0 {
			untold = append(untold, told)
		}
	}
	return untold
}

// Told notes that the database has been told.
func (s *Sources) Told(tallies []store.SourceTally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tallies {
		s.tallies[t.Source].told[0] += t.Proven
		s.tallies[t.Source].told[1] += t.OverRate
	}
}
