package expr

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/parser"
)

// maxProgram is the size of a regular expression in instructions. What one can
// cost is its size times the length of the text.
const maxProgram = 1000

// members are those of an event and of the objects in it whose members are
// known; a condition that names another one has a spelling mistake.
func members(of string) []string {
	switch of {
	case "event":
		return []string{"actor", "data", "id", "organization_id", "previous", "schema_version", "sequence", "subject", "timestamp", "type"}
	case "event.subject", "event.actor":
		return []string{"id", "type"}
	}
	return nil
}

// inspect refuses what the type checker lets pass, and returns the size of
// every regular expression.
func inspect(tree *ast.AST) (map[string]uint64, error) {
	patterns := map[string]uint64{}
	var err error
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if err != nil {
			return
		}
		var wrong error
		switch e.Kind() {
		case ast.SelectKind:
			wrong = knownMember(e.AsSelect())
		case ast.CallKind:
			wrong = boundedPattern(e.AsCall(), patterns)
		}
		if wrong != nil {
			at := tree.SourceInfo().GetStartLocation(e.ID())
			err = fmt.Errorf("line %d, column %d: %w", at.Line(), at.Column()+1, wrong)
		}
	}))
	return patterns, err
}

// nesting refuses loops in loops beyond a depth. It comes before the types are
// checked, since each level may double the size of a type.
func nesting(tree *ast.AST) error {
	for _, loop := range ast.MatchDescendants(ast.NavigateAST(tree), ast.KindMatcher(ast.ComprehensionKind)) {
		depth := 0
		for e, more := loop, true; more; e, more = e.Parent() {
			if e.Kind() == ast.ComprehensionKind {
				depth++
			}
		}
		if depth > maxNesting {
			at := tree.SourceInfo().GetStartLocation(loop.ID())
			return fmt.Errorf("line %d, column %d: the nesting of loops is deeper than %d", at.Line(), at.Column()+1, maxNesting)
		}
	}
	return nil
}

func knownMember(s ast.SelectExpr) error {
	of := path(s.Operand())
	known := members(of)
	if known == nil || slices.Contains(known, s.FieldName()) {
		return nil
	}
	return fmt.Errorf("%s has no member %q; it has %s", of, clip(s.FieldName(), 50), strings.Join(known, ", "))
}

func path(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		return path(e.AsSelect().Operand()) + "." + e.AsSelect().FieldName()
	}
	return ""
}

func boundedPattern(c ast.CallExpr, patterns map[string]uint64) error {
	if c.FunctionName() != overloads.Matches {
		return nil
	}
	args := c.Args()
	pattern := args[len(args)-1]
	if pattern.Kind() != ast.LiteralKind {
		return fmt.Errorf("the pattern of matches() must be written out as a string")
	}
	text, ok := pattern.AsLiteral().(types.String)
	if !ok {
		return fmt.Errorf("the pattern of matches() must be a string")
	}
	parsed, err := syntax.Parse(string(text), syntax.Perl)
	if err != nil {
		return fmt.Errorf("the pattern of matches() is no regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return fmt.Errorf("the pattern of matches() is no regular expression: %s", err)
	}
	if len(program.Inst) > maxProgram {
		return fmt.Errorf("the pattern of matches() is too large: it comes to %d steps, %d are allowed", len(program.Inst), maxProgram)
	}
	patterns[string(text)] = uint64(len(program.Inst))
	return nil
}

const maxHas = 10

// hasMacro is has(a.b.c), which here is false as well where a.b is missing: an
// event that changed nothing has no previous at all.
func hasMacro() cel.Macro {
	return parser.NewGlobalMacro("has", 1, func(eh parser.ExprHelper, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		if args[0].Kind() != ast.SelectKind {
			return nil, eh.NewError(args[0].ID(), "has() asks for a member: has(event.data.name)")
		}
		s := args[0].AsSelect()
		out := eh.NewPresenceTest(s.Operand(), s.FieldName())
		depth := 0
		for o := s.Operand(); o.Kind() == ast.SelectKind; o = o.AsSelect().Operand() {
			if depth++; depth > maxHas { // each level repeats those above it
				return nil, eh.NewError(args[0].ID(), fmt.Sprintf("has() looks at most %d levels deep", maxHas))
			}
			above := eh.NewPresenceTest(eh.Copy(o.AsSelect().Operand()), o.AsSelect().FieldName())
			out = eh.NewCall(operators.LogicalAnd, above, out)
		}
		return out, nil
	})
}
