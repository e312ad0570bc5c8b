package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep objects and arrays may nest.
const maxDepth = 100

// parse reads body as one JSON object, in one pass that keeps only what may be
// looked at: it is on the way of every delivery. The grammar is RFC 8259's, of
// which Postgres's type json refuses nothing, but for invalid UTF-8: that becomes
// U+FFFD in the texts. Of a name that is given twice the last counts, as in
// JavaScript.
func parse(body []byte) (*delivery, error) {
	if deeper(body, maxDepth) {
		return nil, refuse("the body nests deeper than %d: send a flatter object", maxDepth)
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body),
		jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	if kind := decoder.PeekKind(); kind != '{' {
		if err := decoder.SkipValue(); err != nil {
			return nil, refuseSyntax(err)
		}
		return nil, refuse("the body is JSON, but not an object: send one object per delivery")
	}
	root, err := readObject(decoder, true)
	if err != nil {
		return nil, refuseSyntax(err)
	}
	if _, err := decoder.ReadToken(); err != io.EOF {
		return nil, refuse("the body has data after its JSON value: send one object per delivery")
	}
	return newDelivery(body, root), nil
}

// isPart tells the objects of a delivery that are looked into.
func isPart(name string) bool {
	switch name {
	case "data", "user", "message", "room", "error", "session":
		return true
	}
	return false
}

// readObject reads the object that comes next: its texts as string, its numbers
// as json.Number, of the root the objects that are looked into as map, and
// anything else as nil.
func readObject(decoder *jsontext.Decoder, isRoot bool) (map[string]any, error) {
	if _, err := decoder.ReadToken(); err != nil { // {
		return nil, err
	}
	object := make(map[string]any, 8)
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		if token.Kind() == '}' {
			return object, nil
		}
		name := token.String()
		if object[name], err = readValue(decoder, isRoot && isPart(name)); err != nil {
			return nil, err
		}
	}
}

func readValue(decoder *jsontext.Decoder, lookInto bool) (any, error) {
	switch kind := decoder.PeekKind(); {
	case kind == '{' && lookInto:
		return readObject(decoder, false)
	case kind != '"' && kind != '0':
		return nil, decoder.SkipValue()
	default:
		token, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		if kind == '0' {
			return json.Number(token.String()), nil
		}
		return token.String(), nil
	}
}

func refuseSyntax(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse("the body is not JSON: it ends too early; send one complete JSON object")
	case errors.As(err, &syntax):
		return refuse("the body is not JSON: %v (byte %d); send one JSON object", syntax.Err, syntax.ByteOffset)
	case errors.Is(err, io.EOF):
		return refuse("the body is empty: send one JSON object")
	default:
		return refuse("the body is not JSON: %v; send one JSON object", err)
	}
}

// deeper reports whether objects and arrays nest deeper than limit. It runs
// before the parser, which would allocate for each level.
func deeper(body []byte, limit int) bool {
	if bytes.Count(body, []byte{'{'})+bytes.Count(body, []byte{'['}) <= limit {
		return false // as nearly always, and many times faster than the scan
	}
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			quoted = !quoted
		case '\\':
			// What is escaped is no quote. Outside strings a backslash is
			// no JSON, which the parser will say.
			i++
		case '{', '[':
			if !quoted {
				depth++
			}
		case '}', ']':
			if !quoted {
				depth--
			}
		}
		if depth > limit {
			return true
		}
	}
	return false
}
