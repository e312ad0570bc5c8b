package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"

	"rapport/internal/reference"
)

// compare finds each field of each row that is not as it should be, each row
// too many or too few, and the first that is not in its place. A row may be as
// it was before the reading or after it.
func compare(got []fields, want, later []reference.Row) []Difference {
	var differences []Difference
	wanted, wantedLater := byIdentity(want), byIdentity(later)
	seen := map[string]bool{}
	for _, row := range got {
		id := identity(row)
		switch {
		case wanted[id] == nil:
			differences = append(differences, Difference{Where: id, Field: "the session", Got: "there", Want: "none"})
		case seen[id]:
			differences = append(differences, Difference{Where: id, Field: "the session", Got: "there twice", Want: "once"})
		case len(differing(id, row, wantedLater[id])) > 0:
			differences = append(differences, differing(id, row, wanted[id])...)
		}
		seen[id] = true
	}
	for _, row := range want {
		if id := identity(fieldsOf(row)); !seen[id] {
			differences = append(differences, Difference{Where: id, Field: "the session", Got: "missing", Want: "there"})
		}
	}
	if len(got) == len(want) {
		differences = append(differences, misplaced(got, want)...)
	}
	return differences
}

// misplaced finds the first row that is not where it should be.
func misplaced(got []fields, want []reference.Row) []Difference {
	for i := range want {
		if id, should := identity(got[i]), identity(fieldsOf(want[i])); id != should {
			return []Difference{{Where: "GET /sessions", Field: fmt.Sprintf("row %d", i), Got: id, Want: should}}
		}
	}
	return nil
}

func byIdentity(rows []reference.Row) map[string]fields {
	byID := make(map[string]fields, len(rows))
	for _, row := range rows {
		f := fieldsOf(row)
		byID[identity(f)] = f
	}
	return byID
}

func identity(row fields) string {
	return fmt.Sprintf("session %v of %v started at %v", row["session_id"], row["agent_id"], row["started_at"])
}

// differing compares the fields of both rows, those among them that only one
// has.
func differing(where string, got, want fields) []Difference {
	names := map[string]bool{}
	for name := range got {
		names[name] = true
	}
	for name := range want {
		names[name] = true
	}
	var differences []Difference
	for _, name := range slices.Sorted(maps.Keys(names)) {
		g, isGot := got[name]
		w, isWanted := want[name]
		if isGot != isWanted || !same(g, w) {
			differences = append(differences, Difference{Where: where, Field: name, Got: show(g, isGot), Want: show(w, isWanted)})
		}
	}
	return differences
}

// same compares two values of JSON, numbers by their value.
func same(a, b any) bool {
	x, isNumber := a.(json.Number)
	y, isNumberToo := b.(json.Number)
	if !isNumber || !isNumberToo {
		return reflect.DeepEqual(a, b)
	}
	p, ok := new(big.Rat).SetString(x.String())
	q, okToo := new(big.Rat).SetString(y.String())
	return ok && okToo && p.Cmp(q) == 0
}

func show(value any, isThere bool) string {
	if !isThere {
		return "absent"
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// fieldsOf is a row as the JSON of GET /sessions has it.
func fieldsOf(row reference.Row) fields {
	text, err := json.Marshal(row)
	if err != nil {
		panic(err) // a row has nothing that JSON cannot hold
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var f fields
	if err := decoder.Decode(&f); err != nil {
		panic(err)
	}
	return f
}
