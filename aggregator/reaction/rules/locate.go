package rules

import (
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// wrongIn notes a mistake within the text of a node: at a line, from 1, and a column,
// from 0, of the text.
func (r *reader) wrongIn(n *yaml.Node, line, column int, format string, args ...any) {
	atLine, atColumn := r.locate(n, line, column)
	r.wrongAt(atLine, atColumn, format, args...)
}

// locate finds in the file what is in the text of a scalar. However it is written,
// YAML changes only the space between its characters; where that is not so, as with
// escapes, it is the scalar's beginning.
func (r *reader) locate(n *yaml.Node, line, column int) (int, int) {
	text := []rune(n.Value)
	target := visibleBefore(text, line, column)
	atLine, atColumn := n.Line, n.Column
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		atLine, atColumn = n.Line+1, 1
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		atColumn++
	}
	wanted := visible(text)
	for seen := 0; atLine <= len(r.lines); atLine, atColumn = atLine+1, 1 {
		runes := []rune(r.lines[atLine-1])
		for ; atColumn <= len(runes); atColumn++ {
			switch found := runes[atColumn-1]; {
			case unicode.IsSpace(found):
			case seen == target:
				return atLine, atColumn
			case found != wanted[seen]:
				return n.Line, n.Column
			default:
				seen++
			}
		}
		if seen == target && target == len(wanted) {
			return atLine, len(runes) + 1
		}
	}
	return n.Line, n.Column
}

// visibleBefore counts the characters before a place that are no space.
func visibleBefore(text []rune, line, column int) int {
	seen, atLine, atColumn := 0, 1, 0
	for _, c := range text {
		if atLine > line || atLine == line && atColumn >= column {
			break
		}
		if !unicode.IsSpace(c) {
			seen++
		}
		atColumn++
		if c == '\n' {
			atLine, atColumn = atLine+1, 0
		}
	}
	return seen
}

func visible(text []rune) []rune {
	return []rune(strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return -1
		}
		return c
	}, string(text)))
}
