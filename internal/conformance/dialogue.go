package conformance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Dialogue is what a user and an assistant said, without times.
type Dialogue struct {
	ID       string   `json:"id"`
	Services []string `json:"services"`
	Turns    []Turn   `json:"turns"`
}

// Turn is one thing said. In JSON it is ["user", "Hello"].
type Turn struct {
	Role string // user or assistant
	Text string
}

// UnmarshalJSON reads a pair of role and text.
func (t *Turn) UnmarshalJSON(data []byte) error {
	var pair []string
	if err := json.Unmarshal(data, &pair); err != nil {
		return err
	}
	if len(pair) != 2 {
		return fmt.Errorf("a turn is [role, text], not %d values", len(pair))
	}
	t.Role, t.Text = pair[0], pair[1]
	return nil
}

// ReadDialogues reads lines of JSON, one dialogue each, gzipped or plain.
func ReadDialogues(r io.Reader) ([]Dialogue, error) {
	lines := bufio.NewReader(r)
	if magic, _ := lines.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(lines)
		if err != nil {
			return nil, err
		}
		lines = bufio.NewReader(unpacked)
	}
	var dialogues []Dialogue
	for decoder := json.NewDecoder(lines); ; {
		var d Dialogue
		err := decoder.Decode(&d)
		if errors.Is(err, io.EOF) {
			return dialogues, nil
		}
		if err != nil {
			return nil, fmt.Errorf("dialogue %d: %w", len(dialogues)+1, err)
		}
		dialogues = append(dialogues, d)
	}
}
