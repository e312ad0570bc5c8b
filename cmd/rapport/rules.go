package main

import (
	"errors"
	"fmt"
	"strings"

	"rapport/aggregator/reaction/rules"
)

type rulesCmd struct {
	Check rulesCheckCmd `cmd:"" help:"Tell all that is wrong with a file of rules, with line and column; exit code 1 if anything is."`
	Test  rulesTestCmd  `cmd:"" help:"Replay a stretch of the log, and show what a file of rules would have fired. Nothing is sent."`
}

type rulesCheckCmd struct {
	File string `arg:"" type:"path" help:"The file, such as rules.yaml."`
}

// Run checks a file.
func (c *rulesCheckCmd) Run(io streams) error {
	set, err := loadRules(c.File, io)
	if err != nil {
		return err
	}
	for _, rule := range set.Rules() {
		_, _ = fmt.Fprintf(io.Out, "%s: on %s, to %s\n", rule.Name, strings.Join(rule.On, ", "), strings.Join(rule.Then, ", "))
	}
	_, err = fmt.Fprintf(io.Out, "%s and %s, nothing wrong\n", plural(len(set.Rules()), "rule"), plural(len(set.Destinations()), "destination"))
	return err
}

// loadRules writes each mistake of a file in a line of its own.
func loadRules(path string, io streams) (*rules.Set, error) {
	set, err := rules.Load(path)
	mistakes, ok := errors.AsType[rules.Mistakes](err)
	if !ok {
		return set, err
	}
	for _, mistake := range mistakes {
		_, _ = fmt.Fprintln(io.Err, mistake)
	}
	return nil, fmt.Errorf("%s in %s", plural(len(mistakes), "mistake"), path)
}
