package rapport_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestArrowsPointOneWay keeps the imports as docs/design.md draws them:
// cmd → api, aggregator → store → rapport.
func TestArrowsPointOneWay(t *testing.T) {
	t.Parallel()
	forbidden := map[string][]string{
		".":          {"rapport/"},
		"store":      {"rapport/api", "rapport/aggregator", "rapport/cmd", "net/http"},
		"api":        {"rapport/aggregator", "rapport/cmd"},
		"aggregator": {"rapport/api", "rapport/cmd", "net/http"},
		"migrations": {"rapport"},
		"internal":   {"rapport/cmd"},
	}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		room, _, nested := strings.Cut(filepath.ToSlash(path), "/")
		if !nested {
			room = "."
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if imported == "net/http" && speaksToOthers(path) {
				continue
			}
			for _, prefix := range forbidden[room] {
				if imported == prefix || strings.HasPrefix(imported, strings.TrimSuffix(prefix, "/")+"/") {
					t.Errorf("%s imports %s", path, imported)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// speaksToOthers tells the parts of the aggregator that send what they make of the log:
// the others know the database alone.
func speaksToOthers(path string) bool {
	path = filepath.ToSlash(path)
	return strings.HasPrefix(path, "aggregator/reaction/deliver/") || strings.HasPrefix(path, "aggregator/export/")
}

// TestTheVocabularyIsPure keeps clocks, contexts and I/O out of the root package.
func TestTheVocabularyIsPure(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			switch spec.Path.Value {
			case `"context"`, `"io"`, `"os"`, `"net"`, `"net/http"`, `"database/sql"`, `"log/slog"`:
				t.Errorf("%s imports %s", path, spec.Path.Value)
			}
		}
	}
}
