package expr

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
)

// maxErrors is how many mistakes of one condition are told at once.
const maxErrors = 3

// inWords makes one error of what the parser and the checker found.
func inWords(found []*cel.Error) error {
	slices.SortStableFunc(found, func(a, b *cel.Error) int {
		if d := a.Location.Line() - b.Location.Line(); d != 0 {
			return d
		}
		return a.Location.Column() - b.Location.Column()
	})
	var parts []string
	for _, e := range found {
		s := plain(e.Message)
		if e.Location.Line() > 0 {
			s = fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, s)
		}
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
		if len(parts) == maxErrors {
			break
		}
	}
	return errors.New(strings.Join(parts, "; "))
}

var (
	// binary and unary find the names that operators have inside the library.
	binary = regexp.MustCompile(`'_(\W{1,2})_'`)
	unary  = regexp.MustCompile(`'(?:@(in)|([!-])_)'`)
	// expecting finds the list of all tokens that there are.
	expecting = regexp.MustCompile(` expecting \{.*\}$`)
)

// plain takes the library's inner names out of a message.
func plain(message string) string {
	switch {
	case message == "no such overload":
		return "a value is of a type that this does not work with"
	case strings.Contains(message, "recursion"):
		return "the condition is nested too deeply"
	case strings.Contains(message, "lookahead limit"):
		return "the condition cannot be read"
	}
	message = strings.TrimPrefix(message, "Syntax error: ")
	message = strings.NewReplacer(" (in container '')", "", "'_[_]'", "'[]'", "'_?_:_'", "'?:'").Replace(message)
	message = unary.ReplaceAllString(binary.ReplaceAllString(message, "'$1'"), "'$1$2'")
	return clip(expecting.ReplaceAllString(message, ""), 300)
}

func clip(s string, most int) string {
	runes := []rune(s)
	if len(runes) <= most {
		return s
	}
	return string(runes[:most]) + "…"
}
