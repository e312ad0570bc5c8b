package bi

import (
	"os"
	"strings"
	"testing"

	"rapport/internal/sqldocs"
	"rapport/store/storetest"
)

func catalogue(t *testing.T, db *storetest.Database) sqldocs.Catalogue {
	t.Helper()
	c, err := sqldocs.Read(t.Context(), connect(t, db, "rapport_reader"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEverythingInTheSchemaIsCommented(t *testing.T) {
	t.Parallel()
	c := catalogue(t, storetest.New(t))
	if len(c.Views) < 9 || len(c.Functions) < 4 {
		t.Errorf("only %d views and %d functions", len(c.Views), len(c.Functions))
	}
	check := func(of, comment string) {
		if strings.TrimSpace(comment) == "" {
			t.Errorf("%s has no comment", of)
		}
	}
	for _, v := range c.Views {
		check(v.Name, v.Comment)
		for _, column := range v.Columns {
			check(v.Name+"."+column.Name, column.Comment)
		}
	}
	for _, f := range c.Functions {
		check(f.Name, f.Comment)
		for _, column := range append(f.Arguments, f.Columns...) {
			check(f.Name+"("+column.Name+")", column.Comment)
		}
	}
}

func TestThePageOfTheSchemaIsNotStale(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/sql.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != sqldocs.Page(catalogue(t, storetest.New(t))) {
		t.Error("docs/sql.md is stale: make generate")
	}
}

func TestTheExamplesOfThePageRun(t *testing.T) {
	t.Parallel()
	conn := connect(t, storetest.New(t), "rapport_reader")
	examples := sqldocs.Examples()
	if len(examples) < 12 {
		t.Errorf("only %d examples", len(examples))
	}
	for _, e := range examples {
		if _, _, err := run(t, conn, e.SQL); err != nil || e.Question == "" {
			t.Errorf("%s: %v\n%s", e.Question, err, e.SQL)
		}
	}
}
