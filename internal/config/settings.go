package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

const prefix = "GUILDHALL_"

// settings are the raw values by name, each with where it was read.
type settings map[string]setting

type setting struct{ value, origin string }

// read lays environ over the file, and lists what in them cannot be understood.
func read(file string, environ []string) (settings, []error, error) {
	var problems []error
	s := settings{}
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("config: read %s: %w", file, err)
		}
		problems = append(problems, s.addFile(file, string(text))...)
	}
	return s, append(problems, s.addEnviron(environ)...), nil
}

// addFile adds the KEY=VALUE lines of text. Empty lines and lines that start with # are skipped; a value may stand in
// single or double quotes, and outside quotes " #" starts a comment.
func (s settings) addFile(file, text string) (problems []error) {
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		where := fmt.Sprintf("%s:%d", file, i+1)
		name, value, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if !found {
			problems = append(problems, fmt.Errorf("%s: not a setting; write NAME=value, or # before a comment", where))
			continue
		}
		if !known(name) {
			problems = append(problems, unknown(where, name))
			continue
		}
		value, err := unquote(strings.TrimSpace(value))
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %s: %w", where, name, err))
			continue
		}
		if before, twice := s[name]; twice {
			problems = append(problems, fmt.Errorf("%s: %s is set already at %s; keep one of them", where, name, before.origin))
			continue
		}
		s[name] = setting{value, where}
	}
	return problems
}

// addEnviron lays the GUILDHALL_* names of environ over s.
func (s settings) addEnviron(environ []string) (problems []error) {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, prefix) || foreign(name):
		case !known(name):
			problems = append(problems, unknown("environment", name))
		default:
			s[name] = setting{strings.TrimSpace(value), "environment"}
		}
	}
	return problems
}

// foreign tells the names with our prefix that are not the operator's: those of the test suite, and those Kubernetes
// puts into every container beside a Service called guildhall.
func foreign(name string) bool {
	rest := strings.TrimPrefix(name, prefix)
	return strings.HasPrefix(rest, "TEST_") || rest == "PORT" || strings.HasPrefix(rest, "PORT_") ||
		rest == "SERVICE_HOST" || rest == "SERVICE_PORT" || strings.HasPrefix(rest, "SERVICE_PORT_")
}

func unquote(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	if q := value[:1]; q == `"` || q == `'` {
		inner, rest, closed := strings.Cut(value[1:], q)
		if !closed {
			return "", fmt.Errorf("the value's quote is never closed; end it with %s", q)
		}
		if rest = strings.TrimSpace(rest); rest != "" && !strings.HasPrefix(rest, "#") {
			return "", fmt.Errorf("text follows the closing quote; remove it, or quote the value with the other kind")
		}
		return inner, nil
	}
	if value[0] == '#' {
		return "", nil
	}
	if i := strings.Index(value, " #"); i >= 0 {
		value = value[:i]
	}
	return strings.TrimSpace(value), nil
}

func known(name string) bool { return slices.Contains(names(), name) }

// names are all that may be set.
func names() (all []string) {
	for _, e := range Reference() {
		all = append(all, e.Name)
	}
	return append(all, remoteURL, remoteKey)
}

func unknown(where, name string) error {
	best, distance := "", -1
	for _, n := range names() {
		if d := editDistance(name, n); distance < 0 || d < distance {
			best, distance = n, d
		}
	}
	return fmt.Errorf("%s: no setting is called %q; did you mean %s?", where, name, best)
}

// editDistance counts the letters to insert, delete or change to turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
