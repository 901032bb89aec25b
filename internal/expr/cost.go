package expr

import (
	"regexp"
	"strings"

	"github.com/google/cel-go/common/functions"
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
	perJoin     = 10  // members of a list that are copied in the time of a step
	zoneLookup  = 50  // a time zone is read from a file
	patternStep = 200 // instructions of a regular expression, each for one character
)

// CallCost implements interpreter.ActualCostEstimator.
func (e estimator) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	cost := uint64(1)
	switch function {
	case operators.Equals, operators.NotEquals, operators.In, operators.OldIn:
		cost += searching(function, args)
	case overloads.Matches:
		pattern, _ := args[len(args)-1].(types.String)
		cost += e.matching(args[0], string(pattern))
	default:
		for _, a := range args {
			cost += text(a) / perStep
		}
		cost += text(result) / perStep
		if function == operators.Add {
			cost += joining(args)
		}
		if strings.HasPrefix(function, "get") && len(args) == 2 {
			cost += zoneLookup
		}
	}
	return &cost
}

// weighed makes the calls that may look at all of a value refuse one that is
// too large before they look, since the cost of a call is counted only after
// it. What lists share counts as often as it is met: a few characters describe
// values that no computer could look through.
func weighed(i interpreter.Interpretable) (interpreter.Interpretable, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok {
		return i, nil
	}
	var do functions.FunctionOp
	switch call.Function() {
	case operators.Equals:
		do = func(args ...ref.Val) ref.Val { return types.Equal(args[0], args[1]) }
	case operators.NotEquals:
		do = func(args ...ref.Val) ref.Val { return types.Bool(types.Equal(args[0], args[1]) != types.True) }
	case operators.In, operators.OldIn:
		do = contains
	case operators.Add:
		do = add
	default:
		return i, nil
	}
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
		if searching(call.Function(), args) > costLimit || joining(args) > costLimit {
			panic(interpreter.EvalCancelledError{Cause: interpreter.CostLimitExceeded, Message: "the values are too large"})
		}
		return do(args...)
	}), nil
}

func contains(args ...ref.Val) ref.Val {
	if c, ok := args[1].(traits.Container); ok {
		return c.Contains(args[0])
	}
	return types.MaybeNoSuchOverloadErr(args[1])
}

// add makes a list of two lists anew: the library makes a view of both, and of
// views of views even the size takes long to find.
func add(args ...ref.Val) ref.Val {
	_, accumulates := args[0].(traits.MutableLister) // what map() and filter() have gathered
	a, first := args[0].(traits.Lister)
	b, second := args[1].(traits.Lister)
	if first && second && !accumulates {
		joined := make([]ref.Val, 0, length(a)+length(b))
		for _, l := range []traits.Lister{a, b} {
			for it := l.Iterator(); it.HasNext() == types.True; {
				joined = append(joined, it.Next())
			}
		}
		return types.NewRefValList(jsonAdapter{}, joined)
	}
	if adder, ok := args[0].(traits.Adder); ok {
		return adder.Add(args[1])
	}
	return types.MaybeNoSuchOverloadErr(args[0])
}

// joining is the number of steps that it takes to join two lists.
func joining(args []ref.Val) (sum uint64) {
	for _, a := range args {
		if l, ok := a.(traits.Lister); ok {
			if _, accumulates := a.(traits.MutableLister); !accumulates { // grows in its place
				sum += uint64(length(l)) / perJoin
			}
		}
	}
	return sum
}

func length(l traits.Lister) int {
	n, _ := l.Size().(types.Int)
	return int(n)
}

// searching is the number of steps that a comparison takes, or to look for a
// value in a list; of a comparison, that is the size of the smaller side.
func searching(function string, args []ref.Val) uint64 {
	if len(args) != 2 {
		return 0
	}
	switch function {
	case operators.Equals, operators.NotEquals:
		return weight(args[0], weight(args[1], costLimit))
	case operators.In, operators.OldIn:
		list, ok := args[1].(traits.Lister)
		if !ok { // a map is asked, not searched
			return weight(args[0], costLimit)
		}
		each, sum := weight(args[0], costLimit), uint64(0)
		for it := list.Iterator(); sum <= costLimit && it.HasNext() == types.True; {
			sum += weight(it.Next(), each)
		}
		return sum
	}
	return 0
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

// weight is the number of steps it takes to look at all of a value; above most
// it stops to count, and says at most one more.
func weight(v ref.Val, most uint64) uint64 {
	var it traits.Iterator
	switch v := v.(type) {
	case traits.Lister:
		it = v.Iterator()
	case traits.Mapper:
		it = v.Iterator()
	default:
		return min(1+text(v)/perStep, most+1)
	}
	sum := uint64(1)
	for sum <= most && it.HasNext() == types.True {
		next := it.Next()
		sum += weight(next, most-sum)
		if m, ok := v.(traits.Mapper); ok && sum <= most {
			sum += weight(m.Get(next), most-sum)
		}
	}
	return sum
}
