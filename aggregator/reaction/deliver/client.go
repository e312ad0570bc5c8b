package deliver

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"

	"rapport/internal/guard"
)

const (
	maxAnswerBytes       = 64 << 10 // that are read of an answer, so that its connection can be used again
	maxAnswerHeaderBytes = 64 << 10
	idleConnTimeout      = 90 * time.Second
)

// newClient makes the HTTP client of one destination. It goes to no proxy, follows no
// redirect, and reads a part of an answer at most.
//
// A connection that is being made outlives the attempt that it was for, and counts among
// MaxConnsPerHost: without times of its own, one whose handshake hangs would do so for ever.
func newClient(g *guard.Guard, d *Destination) *http.Client {
	dialer := &net.Dialer{Timeout: d.Timeout, KeepAlive: 30 * time.Second, Control: g.Control}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &bounded{&http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    d.Timeout,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: d.Timeout, PingTimeout: d.Timeout},
			MaxConnsPerHost:        d.Concurrency,
			MaxIdleConnsPerHost:    d.Concurrency,
			IdleConnTimeout:        idleConnTimeout,
			MaxResponseHeaderBytes: maxAnswerHeaderBytes,
			DisableCompression:     true, // a small body could become a large one
		}},
	}
}

// bounded bounds how much of an answer's body can be read.
type bounded struct{ *http.Transport }

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.Transport.RoundTrip(r)
	if err == nil {
		response.Body = &boundedBody{io.LimitReader(response.Body, maxAnswerBytes), response.Body}
	}
	return response, err
}

type boundedBody struct {
	io.Reader
	io.Closer
}
