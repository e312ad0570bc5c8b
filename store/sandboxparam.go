package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// paramTexts are parameters as texts that Postgres reads by the types that it found for
// them; nil is null.
func paramTexts(params []json.RawMessage, oids []uint32) ([][]byte, error) {
	if len(params) != len(oids) {
		return nil, &StatementError{Message: fmt.Sprintf("the statement has %d parameters, and params has %d", len(oids), len(params))}
	}
	texts := make([][]byte, len(params))
	for i, param := range params {
		text, err := paramText(param, oids[i])
		if err != nil {
			return nil, &StatementError{Message: fmt.Sprintf("$%d: %v", i+1, err)}
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil, &StatementError{Message: fmt.Sprintf("$%d holds the character U+0000, which Postgres can't", i+1)}
		}
		texts[i] = text
	}
	return texts, nil
}

// paramText is a string without its quotes, an array as Postgres writes one, and any
// other value as it stands. A parameter of type json or jsonb gets what stands there.
func paramText(param json.RawMessage, oid uint32) ([]byte, error) {
	param = bytes.TrimSpace(param)
	switch {
	case len(param) == 0 || string(param) == "null":
		return nil, nil
	case oid == pgtype.JSONOID || oid == pgtype.JSONBOID:
		return param, nil
	case param[0] == '"':
		var text string
		err := json.Unmarshal(param, &text)
		return []byte(text), err
	case param[0] == '[':
		var b strings.Builder
		err := writeArray(&b, param, maxDimensions)
		return []byte(b.String()), err
	case param[0] == '{':
		return nil, errors.New("an object is for a parameter of type json or jsonb: write $n::jsonb")
	}
	return param, nil
}

// maxDimensions is how many an array of Postgres may have.
const maxDimensions = 6

// writeArray writes a JSON array as Postgres reads one. Objects in it are texts, as an
// array of json has them.
func writeArray(b *strings.Builder, array json.RawMessage, dimensions int) error {
	if dimensions == 0 {
		return fmt.Errorf("an array has at most %d dimensions", maxDimensions)
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(array, &elements); err != nil {
		return err
	}
	b.WriteByte('{')
	for i, element := range elements {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeElement(b, bytes.TrimSpace(element), dimensions); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

var elementEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func writeElement(b *strings.Builder, element json.RawMessage, dimensions int) error {
	switch element[0] {
	case '[':
		return writeArray(b, element, dimensions-1)
	case '{':
		b.WriteString(`"` + elementEscapes.Replace(string(element)) + `"`)
	case '"':
		var text string
		if err := json.Unmarshal(element, &text); err != nil {
			return err
		}
		b.WriteString(`"` + elementEscapes.Replace(text) + `"`)
	case 'n':
		b.WriteString("NULL")
	default:
		b.Write(element)
	}
	return nil
}
