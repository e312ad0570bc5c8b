package demo

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
)

// answer is what the server says to a delivery, or the problem that it has
// with it (RFC 9457).
type answer struct {
	Status    any    `json:"status"` // "success", or a problem's number
	Duplicate bool   `json:"duplicate"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
}

// unreachable tells why no answer came from a server.
func unreachable(server string, err error) error {
	var unknown *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing listens on %s: start it with `rapport serve`, or give the server's address with --url", server)
	case errors.As(err, &unknown):
		return fmt.Errorf("there is no host %s: give the server's address with --url", unknown.Name)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%s gave no answer within %v: is the server overloaded? Try a lower --rate", server, answerTimeout)
	default:
		return fmt.Errorf("%s gave no answer: %w", server, err)
	}
}

// refused tells why an answer is no success.
func refused(server string, response *http.Response, a answer, p proof) error {
	reason := a.Detail
	if reason == "" {
		reason = a.Title
	}
	if reason != "" {
		reason = " (" + reason + ")"
	}
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized && p == (proof{}):
		return errors.New("the server wants a proof: give --webhook-secret or --webhook-token, as the server has them")
	case code == http.StatusUnauthorized:
		return fmt.Errorf("the server refuses the proof%s: %s", reason, p.advice())
	case code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests:
		return fmt.Errorf("the server can't keep up, or not keep anything%s: see its log, or try a lower --rate", reason)
	case code == http.StatusOK || code == http.StatusNotFound || code == http.StatusMethodNotAllowed:
		return fmt.Errorf("what answers at %s is no Rapport: give the server's address with --url", server)
	case code >= 300 && code < 400 && response.Header.Get("Location") != "":
		return fmt.Errorf("%s redirects to %s: give the right address with --url", server, response.Header.Get("Location"))
	default:
		return fmt.Errorf("the server answers %s%s: see its log", response.Status, reason)
	}
}

// advice says which flag to give to a server that refuses the proof.
func (p proof) advice() string {
	switch {
	case p.token == "":
		return "--webhook-secret is not the server's, or it has only a --webhook-token"
	case p.secret == "":
		return "--webhook-token is not the server's, or it has only a --webhook-secret"
	default:
		return "--webhook-secret and --webhook-token must both be the server's"
	}
}
