package forwarded

import (
	"net/netip"
	"strings"
)

// splitElements cuts the last element off a line of Forwarded, at a comma that is
// in no quotes. It reads from the right, where trusted proxies wrote: a quote that
// a client left open on the left then hides nothing of theirs.
func splitElements(line string) (rest, element string) {
	isQuoted := false
	for i := len(line) - 1; i >= 0; i-- {
		switch {
		case line[i] == '"' && !isEscaped(line, i):
			isQuoted = !isQuoted
		case line[i] == ',' && !isQuoted:
			return line[:i], strings.Trim(line[i+1:], " \t")
		}
	}
	return "", strings.Trim(line, " \t")
}

// isEscaped reports whether an odd number of backslashes is before a byte.
func isEscaped(line string, at int) bool {
	before := strings.TrimRight(line[:at], `\`)
	return (at-len(before))%2 == 1
}

// forOf is the address of an element: false if it has none, or is malformed.
func forOf(element string) (netip.Addr, bool) {
	value, ok := parameter(element, "for")
	if !ok || value == "" {
		return netip.Addr{}, false
	}
	return node(value)
}

func protoOf(element string) string {
	value, _ := parameter(element, "proto")
	return value
}

// parameter is the value of one of an element's parameters, without quotes; empty
// if it is absent, false if the element is malformed. RFC 7239, section 4; but
// what is not quoted may hold brackets and colons, as some proxies write.
func parameter(element, name string) (value string, ok bool) {
	seen := make(map[string]bool, 4)
	for rest := element; rest != ""; {
		var pair string
		pair, rest = cutPair(rest)
		key, text, hasValue := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !hasValue && strings.Trim(pair, " \t") == "" { // as in for=192.0.2.1;
			continue
		}
		key = strings.ToLower(key)
		plain, isProper := unquote(text)
		if !hasValue || !isProper || key == "" || strings.Trim(key, nameCharacters) != "" || seen[key] {
			return "", false
		}
		seen[key] = true
		if key == name {
			value = plain
		}
	}
	return value, true
}

// cutPair cuts an element at its first semicolon that is in no quotes.
func cutPair(element string) (pair, rest string) {
	isQuoted := false
	for i := 0; i < len(element); i++ {
		switch {
		case element[i] == '\\' && isQuoted:
			i++ // whatever follows is meant as such
		case element[i] == '"':
			isQuoted = !isQuoted
		case element[i] == ';' && !isQuoted:
			return element[:i], element[i+1:]
		}
	}
	return element, ""
}

// unquote is the value of a token or of a quoted string; false if it is neither.
func unquote(text string) (string, bool) {
	inner, isQuoted := strings.CutPrefix(text, `"`)
	if !isQuoted {
		return text, text != "" && !strings.ContainsAny(text, "\"\\ \t,;=")
	}
	var value strings.Builder
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '"':
			return value.String(), i == len(inner)-1
		case '\\':
			i++
			if i == len(inner) {
				return "", false
			}
		}
		value.WriteByte(inner[i])
	}
	return "", false // nothing closes it
}
