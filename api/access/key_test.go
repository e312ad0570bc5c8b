package access

import (
	"regexp"
	"strings"
	"testing"
)

func TestAKey(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^rpt_[0-9A-Za-z]{49}$`) // what a secret scanner is told
	seen := map[string]bool{}
	for range 2000 {
		key := NewKey()
		if !form.MatchString(key) || !IsKey(key) || seen[key] || len(PrefixOf(key)) != 10 {
			t.Fatalf("%q", key)
		}
		seen[key] = true
	}
}

func TestWhatIsNoKey(t *testing.T) {
	t.Parallel()
	key := NewKey()
	other := byte('a')
	if key[20] == other {
		other = 'b'
	}
	for name, text := range map[string]string{
		"nothing":            "",
		"another token":      "s3cret",
		"a digit changed":    key[:20] + string(other) + key[21:],
		"cut off":            key[:len(key)-1],
		"something behind":   key + "0",
		"another beginning":  "rpx_" + key[4:],
		"another alphabet":   key[:20] + "é" + key[22:],
		"a space":            key[:20] + " " + key[21:],
		"the checksum alone": strings.Repeat("0", 43) + key[47:],
	} {
		if IsKey(text) {
			t.Errorf("%s is a key: %q", name, text)
		}
	}
}
