// Package expr evaluates conditions on events, written in CEL (the Common
// Expression Language) by people who are not trusted:
//
//	event.type == "task.updated" && has(event.previous.status) && event.data.priority_rank > 2
//
// A condition always ends: what it may cost is limited by a count of its steps,
// in which comparing, searching and matching count by the size of the values,
// not by a clock, so that the same condition on the same event gives the same
// answer on every machine.
//
// Values are those of JSON. A number without a fraction is an int, any other a
// double; comparing them with each other is comparing numbers.
package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"
)

// MaxSource is the length of a condition in characters.
const MaxSource = 2000

const (
	costLimit  = 5_000 // steps of one evaluation; one is in the order of a microsecond
	maxNesting = 3     // loops within each other, or over what another gives

	interruptEvery = 16 // rounds of a loop between two looks at whether the caller has gone
)

// Condition is a compiled condition. It is safe for concurrent use.
type Condition struct {
	program cel.Program
	info    *ast.SourceInfo
}

var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)),
		cel.CustomTypeAdapter(jsonAdapter{}),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxSource),
		cel.ParserRecursionLimit(100),
		cel.EnableHiddenAccumulatorName(true),
		cel.ClearMacros(),
		cel.Macros(hasMacro(), cel.AllMacro, cel.ExistsMacro, cel.ExistsOneMacro, cel.FilterMacro, cel.MapMacro),
	)
})

// Compile reads a condition. Its error says in words, with line and column,
// what is wrong with the condition, and is meant for whoever wrote it.
func Compile(source string) (*Condition, error) {
	switch {
	case !utf8.ValidString(source):
		return nil, errors.New("the condition is not valid UTF-8")
	case strings.TrimSpace(source) == "":
		return nil, errors.New("the condition is empty")
	case utf8.RuneCountInString(source) > MaxSource:
		return nil, fmt.Errorf("the condition is longer than %d characters", MaxSource)
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("expr: make the environment: %w", err)
	}
	parsed, issues := env.Parse(source)
	if issues.Err() != nil {
		return nil, inWords(issues.Errors())
	}
	if err := nesting(parsed.NativeRep()); err != nil {
		return nil, err
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, inWords(issues.Errors())
	}
	tree := checked.NativeRep()
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("the condition gives a value of type %s; it must give true or false", t)
	}
	patterns, err := inspect(tree)
	if err != nil {
		return nil, err
	}
	cost := estimator{patterns}
	program, err := env.PlanProgram(tree, cel.CostLimit(costLimit), cel.CostTracking(cost), cel.OptimizeRegex(cost.regex()),
		cel.CustomDecorator(weighed), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, fmt.Errorf("the condition cannot be evaluated: %s", plain(err.Error()))
	}
	return &Condition{program: program, info: tree.SourceInfo()}, nil
}

// Match tells whether the condition holds for an event: the members of its JSON
// object, with objects as map[string]any, arrays as []any and numbers as
// json.Number or float64. Its error says in words why there is no answer: a
// member is missing, a value is of another type, or it takes too many steps. It
// ends early, with the error of ctx, when ctx does.
func (c *Condition) Match(ctx context.Context, event map[string]any) (bool, error) {
	yes, _, err := c.Measure(ctx, event)
	return yes, err
}

// Measure is Match, and tells how many steps it took: the same on every machine,
// however busy, and the most that one may take where it took too many.
func (c *Condition) Measure(ctx context.Context, event map[string]any) (yes bool, steps int, err error) {
	out, details, err := c.program.ContextEval(ctx, map[string]any{"event": event})
	steps = costLimit
	if cost := details.ActualCost(); cost != nil && *cost < costLimit {
		steps = int(*cost)
	}
	if ctx.Err() != nil {
		return false, steps, ctx.Err()
	}
	if err != nil {
		return false, steps, c.failure(err)
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, steps, fmt.Errorf("the condition gives a value of type %s, not true or false", out.Type().TypeName())
	}
	return bool(b), steps, nil
}

func (c *Condition) failure(err error) error {
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		return errors.New("the condition takes too many steps on this event")
	}
	var failed *types.Err
	if errors.As(err, &failed) {
		if at := c.info.GetStartLocation(failed.NodeID()); failed.NodeID() > 0 && at.Line() > 0 {
			return fmt.Errorf("line %d, column %d: %s", at.Line(), at.Column()+1, plain(failed.Error()))
		}
	}
	return errors.New(plain(err.Error()))
}
