package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const deadLettersPath = "/ui/dead-letters"

// deadLetter is one, as GET /dead-letters tells of it.
type deadLetter struct {
	ID          string    `json:"id"`
	Kind        string    `json:"kind"` // event or delivery
	Position    int64     `json:"position"`
	AgentID     string    `json:"agent_id"`
	SessionID   string    `json:"session_id"`
	EventType   string    `json:"event_type"`
	Destination string    `json:"destination"`
	Rule        string    `json:"rule"`
	Error       string    `json:"error"`
	RetryCount  int64     `json:"retry_count"`
	FailedAt    time.Time `json:"failed_at"`
	Retry       bool      `json:"retry"`
}

// IsDelivery tells what can be deleted: an event stays in the log.
func (l *deadLetter) IsDelivery() bool { return l.Kind == "delivery" }

type deadLettersData struct {
	Letters       []deadLetter
	HasDeliveries bool // among the letters
	Done          string
	Pages         pager
}

func deadLetters(r *Request) (any, error) {
	var list listed[deadLetter]
	query := url.Values{}
	set(query, r.cursorOf())
	if err := r.Get("/dead-letters", query, &list); err != nil {
		return nil, err
	}
	data := &deadLettersData{Letters: list.Data, Done: deadLettersDone(r.URL.Query()), Pages: r.pagerOf(deadLettersPath, list.NextCursor)}
	for i := range list.Data {
		data.HasDeliveries = data.HasDeliveries || list.Data[i].IsDelivery()
	}
	return data, nil
}

// What an action has done, as the URL of the page that follows tells it.
const (
	doneRetry  = "retry"
	doneDelete = "delete"
	doneGone   = "gone"
)

// deadLettersDone is that in words. The words are ours, whoever made the URL.
func deadLettersDone(query url.Values) string {
	n, err := strconv.ParseInt(query.Get("n"), 10, 32)
	if err != nil || n < 0 {
		n = 0
	}
	switch query.Get("done") {
	case doneRetry:
		if n == 1 {
			return "1" + nbsp + "dead letter is tried again. If that fails, it is here again soon."
		}
		return whole(n) + nbsp + "dead letters are tried again. Those that fail are here again soon."
	case doneDelete:
		return plural(n, "dead delivery was", "dead deliveries were") + " deleted."
	case doneGone:
		return "It was no dead letter any more: somebody has tried it again, or deleted it."
	}
	return ""
}

// changed is how many dead letters the API has changed.
type changed struct {
	Retrying int64 `json:"retrying"`
	Deleted  int64 `json:"deleted"`
}

func retryDeadLetters(r *Request) (string, error) {
	return r.changeDeadLetters(http.MethodPost, "/dead-letters/retry", doneRetry)
}

func retryDeadLetter(r *Request) (string, error) {
	return r.changeDeadLetters(http.MethodPost, "/dead-letters/"+url.PathEscape(r.PathValue("id"))+"/retry", doneRetry)
}

func deleteDeadLetters(r *Request) (string, error) {
	return r.changeDeadLetters(http.MethodDelete, "/dead-letters", doneDelete)
}

func deleteDeadLetter(r *Request) (string, error) {
	return r.changeDeadLetters(http.MethodDelete, "/dead-letters/"+url.PathEscape(r.PathValue("id")), doneDelete)
}

// changeDeadLetters has the API do it, and leads back to the list.
func (r *Request) changeDeadLetters(method, path, done string) (back string, err error) {
	var n changed
	err = r.ask(method, path, nil, &n)
	if failure, ok := errors.AsType[*Failure](err); ok && failure.Status == http.StatusNotFound {
		return r.State.Link(deadLettersPath, "done", doneGone), nil
	}
	if err != nil {
		return "", err
	}
	return r.State.Link(deadLettersPath, "done", done, "n", strconv.FormatInt(n.Retrying+n.Deleted, 10)), nil
}
