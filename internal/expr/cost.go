package expr

import (
	"regexp"
	"strings"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"
)

// estimator counts what calls cost. The library counts by overload, and with
// values whose types are known only at run time it counts most calls as one
// step, whatever their size.
type estimator struct {
	patterns map[string]uint64 // instructions of each regular expression
}

const (
	perStep     = 100 // characters that are handled in the time of a step
	zoneLookup  = 50  // a time zone is read from a file
	patternStep = 200 // instructions of a regular expression, each for one character
)

// CallCost implements interpreter.ActualCostEstimator.
func (e estimator) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	cost := uint64(1)
	switch function {
	case operators.Equals, operators.NotEquals:
		cost += weight(smaller(args), costLimit)
	case operators.In, operators.OldIn:
		if list, ok := args[len(args)-1].(traits.Lister); ok { // a map is asked, not searched
			cost += weight(list.(ref.Val), costLimit)
		}
	case overloads.Matches:
		pattern, _ := args[len(args)-1].(types.String)
		cost += e.matching(args[0], string(pattern))
	default:
		for _, a := range args {
			cost += text(a) / perStep
		}
		cost += text(result) / perStep
		if strings.HasPrefix(function, "get") && len(args) == 2 {
			cost += zoneLookup
		}
	}
	return &cost
}

func (e estimator) matching(subject ref.Val, pattern string) uint64 {
	return (text(subject) + 1) * e.patterns[pattern] / patternStep
}

// regex makes matches() refuse a text that is too long for its pattern before
// it looks for it; the cost of a call is counted only after it.
func (e estimator) regex() *interpreter.RegexOptimization {
	return &interpreter.RegexOptimization{
		Function: overloads.Matches, RegexIndex: 1,
		Factory: func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
			compiled, err := regexp.Compile(pattern)
			if err != nil {
				return nil, err
			}
			return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
				subject, ok := args[0].(types.String)
				switch {
				case !ok:
					return types.MaybeNoSuchOverloadErr(args[0])
				case e.matching(subject, pattern) > costLimit:
					return types.NewErr("the text is too long for the pattern of matches()")
				}
				return types.Bool(compiled.MatchString(string(subject)))
			}), nil
		},
	}
}

// text is the length of a string, 0 of anything else.
func text(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	}
	return 0
}

// smaller is the operand at whose end a comparison ends at the latest.
func smaller(args []ref.Val) ref.Val {
	if len(args) == 2 && flat(args[1]) {
		return args[1]
	}
	return args[0]
}

// flat values are compared without looking into others.
func flat(v ref.Val) bool {
	switch v.(type) {
	case traits.Lister, traits.Mapper:
		return false
	}
	return true
}

// weight is the number of steps it takes to look at all of a value; above most
// it stops to count.
func weight(v ref.Val, most uint64) (sum uint64) {
	var it traits.Iterator
	switch v := v.(type) {
	case traits.Lister:
		it = v.Iterator()
	case traits.Mapper:
		it = v.Iterator()
	default:
		return 1 + text(v)/perStep
	}
	for sum <= most && it.HasNext() == types.True {
		next := it.Next()
		sum += weight(next, most-min(sum, most))
		if m, ok := v.(traits.Mapper); ok {
			sum += weight(m.Get(next), most-min(sum, most))
		}
	}
	return sum + 1
}
