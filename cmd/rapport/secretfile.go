package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// A flag that is marked secret:"" can also be read from a file, which the
// environment names: for --api-token, RAPPORT_API_TOKEN or RAPPORT_API_TOKEN_FILE.
// Its value is in no message of ours.

// fileVariable is the environment variable that names the file of a secret flag.
func fileVariable(flag string) string { return variable(flag) + "_FILE" }

func isSecret(flag *kong.Flag) bool { return flag.Tag != nil && flag.Tag.Has("secret") }

// secretOf is a secret flag's value from the environment, empty if there is none. What
// should be done better is appended to warnings.
func secretOf(flag string, getenv func(string) string, warnings *[]string) (string, error) {
	value, path := getenv(variable(flag)), getenv(fileVariable(flag))
	switch {
	case path == "":
		return value, nil
	case value != "":
		return "", fmt.Errorf("%s and %s are both set: keep one of them", variable(flag), fileVariable(flag))
	}
	value, isOpen, err := readSecret(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", fileVariable(flag), err)
	}
	if isOpen {
		*warnings = append(*warnings, fmt.Sprintf("every user of this machine can read the file of %s: chmod 600 %s", fileVariable(flag), path))
	}
	return value, nil
}

// maxSecretBytes is more than any header or URL has.
const maxSecretBytes = 64 << 10

// readSecret reads a file that holds a secret and, perhaps, a newline behind it. It
// also tells whether everybody may read it.
func readSecret(path string) (secret string, isOpen bool, err error) {
	file, err := os.Open(path) // #nosec G304 -- the operator names it
	if err != nil {
		return "", false, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return "", false, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSecretBytes+1))
	if err != nil {
		return "", false, err
	}
	if len(content) > maxSecretBytes {
		return "", false, fmt.Errorf("%s is too large for a secret: it may have %d bytes", path, maxSecretBytes)
	}
	secret = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	if strings.TrimSpace(secret) == "" {
		return "", false, fmt.Errorf("%s is empty: write the secret into it", path)
	}
	return secret, info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0, nil
}

// onCommandLine warns of the secrets that were given as flags, for every user of the
// machine can see those.
func onCommandLine(command *kong.Context) []string {
	var warnings []string
	for _, element := range command.Path {
		flag := element.Flag
		if flag == nil || element.Resolved || !isSecret(flag) || !holdsSecret(flag) {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("--%s is on the command line, where every user of this machine can read it: use %s or %s instead",
			flag.Name, variable(flag.Name), fileVariable(flag.Name)))
	}
	return warnings
}

// holdsSecret reports whether a secret flag's value is one: a URL is only with a password.
func holdsSecret(flag *kong.Flag) bool {
	value := flag.Target.String()
	if !strings.HasSuffix(flag.Name, "-url") {
		return value != ""
	}
	_, err := url.Parse(value)
	return err != nil || strings.Contains(value, "password") || passwordOf(value) != ""
}

// unknownVariables warns of variables that look like ours, and are none: a setting
// that is misspelt would go unnoticed.
func unknownVariables(root *kong.Node, environment []string) []string {
	known := map[string]bool{variable("postgres-bin"): true}
	var walk func(*kong.Node)
	walk = func(node *kong.Node) {
		for _, flag := range node.Flags {
			known[variable(flag.Name)] = true
			known[fileVariable(flag.Name)] = isSecret(flag)
		}
		for _, child := range node.Children {
			walk(child)
		}
	}
	walk(root)
	var warnings []string
	for _, entry := range environment {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "RAPPORT_") && !known[name] {
			warnings = append(warnings, name+" is set, but there is no such setting: see --help for the names")
		}
	}
	return warnings
}

// withoutSecrets is an error about a command line, which may repeat parts of it, without
// those that can belong to a secret: what follows its flag, and what belongs to nothing.
func withoutSecrets(err error, args []string, secrets []string) error {
	var hidden []string
	found, isValue := false, false
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		switch {
		case isValue || !strings.HasPrefix(arg, "--"):
			hidden = append(hidden, arg)
			isValue = false
		case slices.Contains(secrets, strings.TrimPrefix(name, "--")):
			found, isValue = true, value == ""
			hidden = append(hidden, value)
		}
	}
	if !found {
		return err
	}
	slices.SortFunc(hidden, func(a, b string) int { return len(b) - len(a) })
	text := err.Error()
	for _, part := range hidden {
		if part != "" {
			text = strings.ReplaceAll(text, part, "…")
		}
	}
	return errors.New(text)
}

// secretFlags are the names of all secret flags below a node.
func secretFlags(node *kong.Node) []string {
	var names []string
	for _, flag := range node.Flags {
		if isSecret(flag) {
			names = append(names, flag.Name)
		}
	}
	for _, child := range node.Children {
		names = append(names, secretFlags(child)...)
	}
	return names
}
