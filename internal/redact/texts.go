package redact

import (
	"bytes"
	"regexp"
)

// email is an address as people have them, in any script: the local part of letters,
// digits and ._%+'~-, and a domain with at least one dot. In a link, the @ may be %40.
var email = regexp.MustCompile(`[\p{L}\p{N}_][\p{L}\p{M}\p{N}._%+'~-]*(?:[@＠]|%40)` +
	`(?:[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?\.)+(?:(?i:xn--)[A-Za-z0-9-]+|\p{L}[\p{L}\p{M}]+)`)

func emails(text []byte) []span {
	if bytes.IndexByte(text, '@') < 0 && !bytes.Contains(text, []byte("%40")) && !bytes.Contains(text, []byte("＠")) {
		return nil
	}
	var found []span
	for _, at := range email.FindAllIndex(text, -1) {
		found = append(found, span{at[0], at[1]})
	}
	return found
}

// iban is an account number in one word or in groups of four (ISO 13616).
var iban = regexp.MustCompile(`(?i)\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b`)

// ibans finds account numbers whose check digits are right. What follows one may
// look like its last group, so shorter ones are tried too.
func ibans(text []byte) []span {
	if !bytes.ContainsAny(text, "0123456789") {
		return nil
	}
	var found []span
	for _, at := range iban.FindAllIndex(text, -1) {
		for end := at[1]; end-at[0] >= 15; end-- {
			if s := (span{at[0], end}); isFree(text, s) && isIBAN(text[s.from:s.to]) {
				found = append(found, s)
				break
			}
		}
	}
	return found
}

// isIBAN checks the length, and the remainder by 97 (ISO 7064, MOD 97-10).
func isIBAN(text []byte) bool {
	var word []byte
	for _, b := range bytes.ToUpper(text) {
		if b != ' ' && b != '-' {
			word = append(word, b)
		}
	}
	if len(word) < 15 || len(word) > 34 || !isWord(text[len(text)-1]) {
		return false
	}
	remainder := 0
	for _, b := range append(word[4:len(word):len(word)], word[:4]...) {
		if b <= '9' {
			remainder = (remainder*10 + int(b-'0')) % 97
		} else {
			remainder = (remainder*100 + int(b-'A') + 10) % 97
		}
	}
	return remainder == 1
}
