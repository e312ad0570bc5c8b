package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Licences that may be in a binary under Apache-2.0, each by a sentence of its own text.
var licences = []struct{ name, sentence string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"},
	{"ISC", "Permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted"},
	{"CC0-1.0", "released into the public domain with CC0 1.0"},
	{"BSD", "Redistribution and use in source and binary forms, with or without modification, are permitted provided"},
}

// Sentences that stand in licences which ask more of whoever passes a binary on.
var strict = regexp.MustCompile(`(?i)GNU (Lesser |Affero )?General Public License|Mozilla Public License|Server Side Public License|` +
	`Business Source License|Commons Clause|Eclipse Public License|non-?commercial`)

// underMPL are the modules under the Mozilla Public License 2.0 that are in the binary as
// they were published. It asks for no more of those who pass such a binary on than to say
// where the modules' source is (its section 3.2): the README does.
var underMPL = regexp.MustCompile(`^github\.com/riverqueue/river(/[a-z0-9/]+)? `)

func TestEveryModuleInTheBinaryHasALicenceThatMayBe(t *testing.T) {
	t.Parallel()
	const format = "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}\t{{.Dir}}{{end}}{{end}}"
	list := exec.Command("go", "list", "-deps", "-f", format, "./cmd/rapport")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(modules)
	modules = slices.Compact(modules)
	if len(modules) < 10 {
		t.Fatalf("there are more modules than %q", modules)
	}
	for _, line := range modules {
		if module, dir, ok := strings.Cut(line, "\t"); ok {
			checkLicence(t, module, dir)
		}
	}
}

// checkLicence looks at every licence file of a module's root: all must be known, and
// one must be there.
func checkLicence(t *testing.T, module, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Errorf("%s: %v", module, err)
		return
	}
	found := 0
	for _, entry := range entries {
		if !regexp.MustCompile(`(?i)^(un)?licen[cs]e|^copying`).MatchString(entry.Name()) || entry.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Errorf("%s: %v", module, err)
			continue
		}
		found++
		name := licenceOf(string(content))
		if name == "" && underMPL.MatchString(module) && isMPL(string(content)) {
			name = "MPL-2.0"
		}
		if name == "" {
			t.Errorf("%s: nobody has said that the licence in %s may be in the binary", module, entry.Name())
		}
		t.Logf("%s: %s", module, name)
	}
	if found == 0 {
		t.Errorf("%s has no licence", module)
	}
}

// licenceOf names a licence, empty if it is none that may be.
func licenceOf(text string) string {
	words := strings.Join(strings.Fields(text), " ")
	for _, licence := range licences {
		if !strings.Contains(words, licence.sentence) {
			continue
		}
		if licence.name != "Apache-2.0" && strict.MatchString(words) {
			return ""
		}
		return licence.name
	}
	return ""
}

func isMPL(text string) bool {
	return strings.HasPrefix(strings.TrimSpace(text), "Mozilla Public License Version 2.0")
}

// TestModulesUnderTheMPLAreAsPublished: of a changed one the source would be ours to offer.
func TestModulesUnderTheMPLAreAsPublished(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{with .Replace}}{{.Path}}{{end}}", "all")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(string(out)) {
		if !underMPL.MatchString(line) {
			continue
		}
		found++
		if _, other, _ := strings.Cut(strings.TrimSpace(line), " "); other != "" {
			t.Errorf("%s stands for a module under the MPL", other)
		}
	}
	if found == 0 {
		t.Error("there is none: underMPL can go")
	}
}

func TestALicenceThatAsksMoreIsNoticed(t *testing.T) {
	t.Parallel()
	for text, name := range map[string]string{
		"Apache License\n   Version 2.0, January 2004":                                                          "Apache-2.0",
		"MIT\n\nPermission is hereby granted, free of charge, to any person\nobtaining a copy of this software": "MIT",
		"GNU GENERAL PUBLIC LICENSE Version 3":                                                                  "",
		"Mozilla Public License Version 2.0":                                                                    "",
		"All rights reserved.":                                                                                  "",
		"Permission is hereby granted, free of charge, to any person obtaining a copy, under the “Commons Clause”": "",
	} {
		if got := licenceOf(text); got != name {
			t.Errorf("%q is %q, want %q", text, got, name)
		}
	}
}
