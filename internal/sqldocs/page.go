package sqldocs

import (
	_ "embed" // for the parts that are written by hand
	"fmt"
	"strings"
)

//go:embed intro.md
var intro string

//go:embed examples.sql
var examples string

// Example is a question and the SQL that answers it.
type Example struct {
	Question string
	SQL      string
}

// Examples are those of the page.
func Examples() []Example {
	var all []Example
	for part := range strings.SplitSeq(examples, "\n\n") {
		question, sql, _ := strings.Cut(strings.TrimSpace(part), "\n")
		all = append(all, Example{strings.TrimPrefix(question, "-- "), sql})
	}
	return all
}

// Page is docs/sql.md.
func Page(c Catalogue) string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("\n## Views\n\n| view | what it has |\n|---|---|\n")
	for _, v := range c.Views {
		first, _, _ := strings.Cut(v.Comment, ". ")
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", v.Name, "analytics"+v.Name, cell(strings.TrimSuffix(first, ".")))
	}
	for _, v := range c.Views {
		fmt.Fprintf(&b, "\n### analytics.%s\n\n%s\n\n", v.Name, v.Comment)
		table(&b, "column", v.Columns)
	}
	b.WriteString("\n## Functions\n\nArguments with a default may be left out. By name: `analytics.funnel(\"from\" => '2026-01-01', \"to\" => now())`.\n")
	for _, f := range c.Functions {
		fmt.Fprintf(&b, "\n### analytics.%s(%s)\n\n%s\n\n", f.Name, signature(f.Arguments), f.Comment)
		table(&b, "argument", f.Arguments)
		b.WriteString("\n")
		table(&b, "result", f.Columns)
	}
	b.WriteString("\n## Examples\n")
	for _, e := range Examples() {
		fmt.Fprintf(&b, "\n%s:\n\n```sql\n%s\n```\n", e.Question, e.SQL)
	}
	return b.String()
}

func signature(arguments []Column) string {
	var names []string
	for _, a := range arguments {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
}

func table(b *strings.Builder, of string, columns []Column) {
	fmt.Fprintf(b, "| %s | type | meaning |\n|---|---|---|\n", of)
	for _, c := range columns {
		meaning := cell(sentence(c.Comment))
		if c.Default != "" {
			meaning += " Default: `" + cell(strings.TrimSuffix(c.Default, "::text")) + "`."
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", c.Name, strings.Replace(c.Type, "timestamp with time zone", "timestamptz", 1), meaning)
	}
}

// sentence begins with a capital, but for what is a name.
func sentence(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if word == "" || strings.ContainsAny(word, "._,") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// cell is a text in a table of Markdown.
func cell(text string) string { return strings.NewReplacer("|", `\|`, "\n", " ").Replace(text) }
