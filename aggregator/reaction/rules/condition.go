package rules

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// maxCost bounds what a condition may cost, in CEL's units: about one for each
// operation and each tenth character that it looks at.
const maxCost = 1_000_000

// condition is a `when`.
type condition struct {
	program cel.Program
	text    string
}

// environments of the variables that conditions may have.
var (
	eventEnvironment   = sync.OnceValues(func() (*cel.Env, error) { return environment("event", "session", "agent") })
	sessionEnvironment = sync.OnceValues(func() (*cel.Env, error) { return environment("session", "agent") })
)

func environment(variables ...string) (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	options := []cel.EnvOption{
		cel.CustomTypeProvider(provider{registry}), cel.CustomTypeAdapter(registry),
		cel.CrossTypeNumericComparisons(true), // session.engagement_score < 50
		cel.Function("hasWord", cel.MemberOverload("text_has_word", []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.BoolType,
			cel.BinaryBinding(func(text, list ref.Val) ref.Val { return hasWordOf(text, list) }))),
		cel.Function("sentiment", cel.Overload("sentiment_text", []*cel.Type{cel.StringType}, cel.DoubleType,
			cel.UnaryBinding(func(text ref.Val) ref.Val { return sentimentOf(text) }))),
		cel.Function("similarity",
			cel.Overload("similarity_text", []*cel.Type{cel.StringType, cel.StringType}, cel.DoubleType,
				cel.BinaryBinding(func(a, b ref.Val) ref.Val { return similarityOf(a, []ref.Val{b}) })),
			cel.Overload("similarity_list", []*cel.Type{cel.StringType, cel.ListType(cel.StringType)}, cel.DoubleType,
				cel.BinaryBinding(func(a, list ref.Val) ref.Val { return similarityOf(a, elements(list)) }))),
	}
	for _, name := range variables {
		options = append(options, cel.Variable(name, records[name].kind()))
	}
	return cel.NewEnv(options...)
}

func hasWordOf(text, list ref.Val) ref.Val {
	wanted, err := textsIn(elements(list))
	said, ok := text.Value().(string)
	if err != nil || !ok {
		return types.NewErr("hasWord wants texts")
	}
	return types.Bool(hasWord(said, wanted))
}

func sentimentOf(text ref.Val) ref.Val {
	said, ok := text.Value().(string)
	if !ok {
		return types.NewErr("sentiment wants a text")
	}
	return types.Double(texts.of(said).sentiment())
}

func similarityOf(text ref.Val, list []ref.Val) ref.Val {
	others, err := textsIn(list)
	said, ok := text.Value().(string)
	if err != nil || !ok {
		return types.NewErr("similarity wants texts")
	}
	return types.Double(mostSimilar(said, others))
}

// elements are those of a list.
func elements(list ref.Val) []ref.Val {
	var found []ref.Val
	items, ok := list.(interface {
		Get(ref.Val) ref.Val
		Size() ref.Val
	})
	if !ok {
		return []ref.Val{list}
	}
	size, _ := items.Size().Value().(int64)
	for i := range size {
		found = append(found, items.Get(types.Int(i)))
	}
	return found
}

func textsIn(values []ref.Val) ([]string, error) {
	found := make([]string, len(values))
	for i, value := range values {
		text, ok := value.Value().(string)
		if !ok {
			return nil, errors.New("no text")
		}
		found[i] = text
	}
	return found, nil
}

// provider tells CEL of the records.
type provider struct{ types.Provider }

func recordNamed(typeName string) *record {
	for _, r := range []*record{&eventRecord, &errorRecord, &sessionRecord, &agentRecord} {
		if r.typeName == typeName {
			return r
		}
	}
	return nil
}

// FindStructType finds the type of a record.
func (p provider) FindStructType(typeName string) (*types.Type, bool) {
	if r := recordNamed(typeName); r != nil {
		return types.NewTypeTypeWithParam(r.kind()), true
	}
	return p.Provider.FindStructType(typeName)
}

// FindStructFieldNames are the fields of a record.
func (p provider) FindStructFieldNames(typeName string) ([]string, bool) {
	r := recordNamed(typeName)
	if r == nil {
		return p.Provider.FindStructFieldNames(typeName)
	}
	names := make([]string, len(r.fields))
	for i, f := range r.fields {
		names[i] = f.name
	}
	return names, true
}

// FindStructFieldType finds a field of a record.
func (p provider) FindStructFieldType(typeName, name string) (*types.FieldType, bool) {
	r := recordNamed(typeName)
	if r == nil {
		return p.Provider.FindStructFieldType(typeName, name)
	}
	i := slices.IndexFunc(r.fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil, false
	}
	get := func(target any) (any, error) {
		v, ok := target.(*evaluation)
		if !ok {
			return nil, errUnknown
		}
		return r.fields[i].get(v)
	}
	isSet := func(target any) bool {
		_, err := get(target)
		return err == nil
	}
	return &types.FieldType{Type: r.fields[i].kind, IsSet: isSet, GetFrom: get}, true
}

// compile makes a condition, or tells what is wrong with it.
func compile(env *cel.Env, text string) (*condition, []*cel.Error) {
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Errors()
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, []*cel.Error{{Message: fmt.Sprintf("it is %s, and must be true or false: compare it with something", ast.OutputType())}}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if mayCostTooMuch(env, ast) {
		options = append(options, cel.CostLimit(maxCost))
	}
	program, err := env.Program(ast, options...)
	if err != nil {
		return nil, []*cel.Error{{Message: err.Error()}}
	}
	return &condition{program: program, text: text}, nil
}

// asks reports whether a word is in the condition: whether it may ask for something.
func (c *condition) asks(word string) bool { return c != nil && strings.Contains(c.text, word) }

var agentForm = regexp.MustCompile(`\bagent\s*\.`)

func (c *condition) asksAgent() bool { return c != nil && agentForm.MatchString(c.text) }

// holds reports whether the condition is true. A nil one always is.
func (c *condition) holds(v *evaluation) (bool, error) {
	if c == nil {
		return true, nil
	}
	result, _, err := c.program.Eval(v.variables())
	switch {
	case v.ctx.Err() != nil:
		return false, v.ctx.Err()
	case err == nil:
		return result == types.True, nil
	case errors.Is(err, errUnknown) || strings.HasPrefix(err.Error(), "no such key"):
		return false, nil // see errUnknown
	}
	return false, err
}
