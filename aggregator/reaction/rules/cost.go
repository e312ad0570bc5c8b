package rules

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/types"
)

// sizes are the greatest that a condition can meet, by which it is told beforehand what it
// may cost at most.
type sizes struct{}

// maxTextRunes is more than any field of an event has, unless a server takes bodies larger
// than it does by itself.
const maxTextRunes = 1 << 20

// EstimateSize knows texts, and lists of what was said. Of a payload nothing is known.
func (sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	switch element.Type().Kind() {
	case types.StringKind:
		return &checker.SizeEstimate{Max: maxTextRunes}
	case types.ListKind:
		return &checker.SizeEstimate{Max: SaidMessages}
	}
	return nil
}

// EstimateCallCost leaves it to CEL.
func (sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

// mayCostTooMuch reports whether it is to be watched what a condition costs, which takes
// as long again.
func mayCostTooMuch(env *cel.Env, ast *cel.Ast) bool {
	estimate, err := env.EstimateCost(ast, sizes{})
	return err != nil || estimate.Max > maxCost
}
