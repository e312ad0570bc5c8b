package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// answerWithin is longer than the sender's 10 s, to see how long it would have taken.
const answerWithin = 40 * time.Second

// sender is one connection of a webhook sender, opened anew where it is lost. It
// tries each delivery once. http.Client would not do: it tries some again.
type sender struct {
	addr   string
	conn   net.Conn // nil while there is none
	reader *bufio.Reader
	used   bool // it has carried an answer
}

// answer is what became of a delivery that was sent.
type answer struct {
	status     int
	retryAfter bool
	text       string
	Position   int64
	Spooled    bool
	Duplicate  bool

	err         error // no answer came
	unconnected bool  // and nothing was sent, for nobody listened
	reused      bool  // the connection had answered before
}

func (s *sender) post(d *delivery) answer {
	if s.conn != nil && s.left() {
		s.close()
	}
	if s.conn == nil {
		conn, err := net.DialTimeout("tcp", s.addr, answerWithin)
		if err != nil {
			return answer{err: err, unconnected: true}
		}
		s.conn, s.reader, s.used = conn, bufio.NewReader(conn), false
	}
	a := s.exchange(d)
	a.reused = s.used
	s.used = true
	if a.err != nil {
		s.close()
	}
	return a
}

// left reports whether the other side has closed the connection. No HTTP client uses
// such a one again.
func (s *sender) left() bool {
	raw, err := s.conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var failed error
	err = raw.Read(func(fd uintptr) bool { // once, without waiting
		n, _, failed = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return true
	})
	return err != nil || n == 0 && failed == nil || failed != nil && failed != syscall.EAGAIN
}

func (s *sender) exchange(d *delivery) (a answer) {
	_ = s.conn.SetDeadline(time.Now().Add(answerWithin))
	request := fmt.Appendf(make([]byte, 0, 256+len(d.body)),
		"POST /webhook HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-bitHuman-Signature: %s\r\n\r\n",
		s.addr, len(d.body), d.signature)
	if _, a.err = s.conn.Write(append(request, d.body...)); a.err != nil {
		return a
	}
	response, err := http.ReadResponse(s.reader, nil)
	if err != nil {
		a.err = err
		return a
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		a.err = err
		return a
	}
	if response.Close {
		s.close()
	}
	a.status, a.text, a.retryAfter = response.StatusCode, string(content), response.Header.Get("Retry-After") != ""
	if a.status == http.StatusOK {
		if err := json.Unmarshal(content, &a); err != nil {
			a.text = "not JSON: " + a.text
		}
	}
	return a
}

func (s *sender) close() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}
