package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"rapport"
	"rapport/api/access"
	livehub "rapport/api/live"
)

// LiveLimits are how many live streams may be open at once. 0 is any number.
type LiveLimits struct {
	Streams       int // in all
	StreamsPerKey int // with one key; RAPPORT_API_TOKEN and who needs none have no such limit

	OnStreams func(int) // is told how many are open, one call at a time; nobody is
}

const livePath = "/live"

const eventStream = "text/event-stream"

func (s *server) newLive() *livehub.Hub {
	return livehub.NewHub(livehub.Options{
		Source: liveSource{s}, Draining: s.Draining.Load, Streams: s.Live.Streams, StreamsOfOwner: s.Live.StreamsPerKey,
		OnStreams: s.Live.OnStreams, Now: s.Now, Logger: s.Logger,
	})
}

func (s *server) registerLive() {
	register(s, access.Live, huma.Operation{
		OperationID: "follow-live", Method: http.MethodGet, Path: livePath, Tags: []string{"events"},
		Summary: "Follow what happens, as it happens",
		Description: "Server-sent events, for EventSource and the like. A message named event is an event of the log, as of GET /events, told once it is committed, in the order of the log. " +
			"A message named session is a session that has changed, as of GET /sessions, told once its events are folded; of changes that follow each other closely the last one. " +
			"Its member replaces has after and before: other sessions of the same agent_id and session_id that began behind after and before before (null: no bound) are no more, for a late event has made them part of this one. " +
			"That a session closes since it rests is no change: closes_at tells when. " +
			"The id is the log position; where the sessions are not as far as the events, both with a hyphen. Sent back as Last-Event-ID, it goes on behind it without a gap or a double, however old it is. " +
			"Without it the stream begins now. A comment comes at least every 15 seconds, with the id up to which nothing was left to tell. Who takes too long is cut off, and may come back.",
		Responses: map[string]*huma.Response{"200": {
			Description: "A stream without an end.",
			Content: map[string]*huma.MediaType{eventStream: {
				Schema: &huma.Schema{Type: huma.TypeString, Description: "Messages, as the HTML standard has them."},
			}},
		}},
	}, s.followLive)
}

type liveInput struct {
	AgentID     string `query:"agent_id" doc:"Of this agent alone."`
	SessionID   string `query:"session_id" doc:"Of this session_id alone."`
	EventType   string `query:"event_type" doc:"Events of this type alone, such as chat.push, and no sessions."`
	Kind        string `query:"kind" enum:"event,session" doc:"Events alone, or sessions alone; by default both."`
	After       string `query:"last_event_id" doc:"What Last-Event-ID is, for the first request of an EventSource, which can't send headers: an id, or a log position. The header comes first."`
	LastEventID string `header:"Last-Event-ID" doc:"The id of the last message that was received: what follows it is told. A log position will do."`

	request *http.Request
}

// Resolve is called by huma.
func (in *liveInput) Resolve(ctx huma.Context) []error {
	in.request, _ = humachi.Unwrap(ctx)
	if in.EventType != "" && in.Kind == "session" {
		return []error{&huma.ErrorDetail{Location: "query.event_type", Message: "sessions have none: ask for events, or leave it out"}}
	}
	return nil
}

func (in *liveInput) kinds() livehub.Kinds {
	switch {
	case in.Kind == "event" || in.EventType != "":
		return livehub.Events
	case in.Kind == "session":
		return livehub.Sessions
	}
	return livehub.All
}

// from is behind which place the stream begins; nil: now.
func (in *liveInput) from() (*livehub.Place, error) {
	id := in.LastEventID
	if id == "" {
		id = in.After
	}
	if id == "" {
		return nil, nil
	}
	place, err := livehub.ParsePlace(id)
	if err != nil {
		return nil, badParameter("last_event_id", err.Error())
	}
	return &place, nil
}

func (s *server) followLive(ctx context.Context, in *liveInput) (*listOutput, error) {
	from, err := in.from()
	if err != nil {
		return nil, err
	}
	who := access.Of(ctx)
	stream, err := s.live.Open(ctx, livehub.Request{
		Filter: livehub.Filter{
			Kinds: in.kinds(), AgentID: rapport.CleanText(in.AgentID), SessionID: rapport.CleanText(in.SessionID),
			EventType: rapport.CleanText(in.EventType), Agents: who.Agents,
		},
		Owner: ownerOf(who), From: from, Stands: s.standing(in.request),
	})
	if err != nil {
		return nil, s.liveProblem(err)
	}
	return &listOutput{func(ctx huma.Context) { s.streamLive(ctx, stream) }}, nil
}

// ownerOf is whose streams are counted together; empty: they are not.
func ownerOf(who *access.Identity) string {
	if who == tokenIdentity || who == loopbackIdentity {
		return ""
	}
	return who.Name
}

func (s *server) liveProblem(err error) error {
	const wait = 5 * time.Second // some leave
	retry := http.Header{"Retry-After": {strconv.Itoa(int(wait / time.Second))}}
	beyond, isBeyond := errors.AsType[*livehub.BeyondError](err)
	switch {
	case isBeyond:
		return badParameter("last_event_id", beyond.Error())
	case errors.Is(err, livehub.ErrTooMany):
		p := newProblem(http.StatusServiceUnavailable, err.Error()+" (--max-live); try again")
		p.headers = retry
		return p
	case errors.Is(err, livehub.ErrTooManyOfOwner):
		p := newProblem(http.StatusTooManyRequests, err.Error()+" (--max-live-per-key)")
		p.headers = retry
		return p
	}
	return err
}

// standing is whether whoever sends a request may still read what it asks for, later
// on. It keeps nothing of the request but what proves that, and waits for nothing.
func (s *server) standing(r *http.Request) func() bool {
	who := access.Of(r.Context())
	if who == loopbackIdentity {
		return func() bool {
			set := s.Keys.last()
			return set == nil || len(set.keys) == 0
		}
	}
	if sent, ok := bearer(r.Header.Values("Authorization")); ok && (s.APIToken != "" || access.IsKey(sent)) {
		hash, isToken := access.HashOf(sent), who == tokenIdentity
		return func() bool {
			set := s.Keys.last()
			return isToken || set == nil || s.stillSees(set, hash, who)
		}
	}
	cookie := cookieOf(r)
	return func() bool {
		set := s.Keys.last()
		if set == nil || set.sealer == nil {
			return set == nil
		}
		key, ok := set.open(cookie, s.now())
		return ok && (who == tokenIdentity || s.stillSees(set, access.HashOf(key), who))
	}
}

// stillSees reports whether a key is valid, and of the same agents as before.
func (s *server) stillSees(set *keySet, hash access.Hash, who *access.Identity) bool {
	key := set.find(hash)
	return key != nil && !key.hasExpired(s.now()) && key.who.May(access.Live) && slices.Equal(key.who.Agents, who.Agents)
}

// streamLive answers with a stream. HTTP/1 connections are taken over from net/http,
// whose buffers and stack cost a stream five times what it needs itself.
func (s *server) streamLive(ctx huma.Context, stream *livehub.Stream) {
	r, w := humachi.Unwrap(ctx)
	header := w.Header()
	header.Set("Content-Type", eventStream)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // nginx would gather it
	header.Del("Vary")                    // it is never compressed
	w = connection(w)                     // what is between compresses, or waits for the end
	if r.Method == http.MethodHead {
		stream.Close()
		w.WriteHeader(http.StatusOK)
		return
	}
	if conn := takeOver(w, r); conn != nil {
		go s.runTaken(conn, stream, w.Header().Get(requestIDHeader))
		return
	}
	defer stream.Close()
	leaveSeat(r.Context())
	w.WriteHeader(http.StatusOK)
	stream.Run(r.Context(), &patientStream{http.NewResponseController(w), w})
}

// runTaken runs a stream to its end. Nobody else would notice that it panics.
func (s *server) runTaken(conn *takenConn, stream *livehub.Stream, requestID string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer stream.Close()
	defer conn.close()
	defer func() {
		if cause := recover(); cause != nil {
			s.Logger.LogAttrs(ctx, slog.LevelError, "a live stream panicked", slog.String("request_id", requestID),
				slog.Any("panic", cause), slog.String("stack", string(debug.Stack())))
		}
	}()
	go conn.awaitEnd(cancel)
	stream.Run(ctx, conn)
}
