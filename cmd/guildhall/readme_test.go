package main

import (
	"bufio"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guildhall-dev/guildhall/internal/config"
)

// repository is the repository's folder.
var repository = filepath.Join("..", "..")

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReadmeWalk runs the walk of the README in a shell, block by block, and
// holds the statuses that are printed against those that the README promises.
func TestReadmeWalk(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skipf("the walk is for curl: %v", err)
	}
	w := newWorld(t)
	sh := newTerminal(t, "URL="+w.url)
	promised := regexp.MustCompile(`# (\d{3})\n`)
	printed := regexp.MustCompile(`(?m)^\d{3}$`)
	var all, last string
	blocks := walkBlocks(t)
	for i, block := range blocks {
		var want []string
		for _, found := range promised.FindAllStringSubmatch(block, -1) {
			want = append(want, found[1])
		}
		last = sh.run(block)
		if got := printed.FindAllString(last, -1); !slices.Equal(got, want) {
			t.Fatalf("block %d of the walk prints the statuses %v, README.md says %v:\n%s\n%s", i+1, got, want, block, last)
		}
		all += last
		w.settle() // what is a moment later for a reader
	}
	for _, what := range []string{`"type":"task.created"`, `"type":"task.updated"`, `"type":"comment.created"`, `"previous":{`} {
		if !strings.Contains(last, what) {
			t.Errorf("the feed at the end of the walk does not show %s: %s", what, last)
		}
	}
	if n := strings.Count(all, `"code":"version_conflict"`); n != 1 {
		t.Errorf("the walk shows %d conflicts, want 1", n)
	}
	if n := w.sql(`select count(*) from tasks`)[0]["count"]; n != int64(2) {
		t.Errorf("the walk made %v tasks, want 2", n)
	}
}

// walkBlocks returns the sh blocks between the markers of the README.
func walkBlocks(t *testing.T) []string {
	t.Helper()
	_, rest, begun := strings.Cut(readPage(t, "README.md"), "<!-- walk: begin")
	walk, _, ended := strings.Cut(rest, "<!-- walk: end")
	var blocks []string
	for _, found := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(walk, -1) {
		blocks = append(blocks, found[1])
	}
	if !begun || !ended || len(blocks) == 0 {
		t.Fatal("README.md has no walk between its markers")
	}
	return blocks
}

// terminal is a shell that keeps its variables from block to block.
type terminal struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Scanner
}

func newTerminal(t *testing.T, env ...string) *terminal {
	t.Helper()
	return newTerminalFor(t, 2*time.Minute, env...)
}

func newTerminalFor(t *testing.T, within time.Duration, env ...string) *terminal {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	cmd := exec.CommandContext(ctx, "bash", "--noprofile", "--norc", "-s")
	cmd.Env = append(os.Environ(), append(env, "LC_ALL=C", "no_proxy=127.0.0.1")...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = testLog{t}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // how the last line of a walk ends says nothing
		cancel()
	})
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	return &terminal{t, in, lines}
}

// run types the block and returns what was printed.
func (s *terminal) run(block string) string {
	s.t.Helper()
	const done = "-- the block is over --"
	if _, err := fmt.Fprintf(s.in, "%s\necho '%s'\n", block, done); err != nil {
		s.t.Fatal(err)
	}
	var printed strings.Builder
	for s.out.Scan() {
		if s.out.Text() == done {
			return printed.String()
		}
		printed.WriteString(s.out.Text() + "\n")
	}
	s.t.Fatalf("the shell ended (%v) after:\n%s", s.out.Err(), printed.String())
	return ""
}

// TestReadmeSettings holds the table of settings against the code.
func TestReadmeSettings(t *testing.T) {
	t.Parallel()
	table := "| name | default | meaning |\n|---|---|---|\n"
	for _, e := range config.Reference() {
		standard := e.Default
		if !strings.HasPrefix(standard, "(") {
			standard = "`" + standard + "`"
		}
		table += fmt.Sprintf("| `%s` | %s | %s |\n", e.Name, standard, e.Doc)
	}
	if !strings.Contains(readPage(t, "README.md"), table) {
		t.Errorf("README.md does not hold the settings of internal/config. Its table is:\n\n%s", table)
	}
}

// TestArchitecturePageMatchesArchTest holds the import table of ARCHITECTURE.md
// against the one that arch_test.go enforces, and the tables without an
// organisation against sql_test.go.
func TestArchitecturePageMatchesArchTest(t *testing.T) {
	t.Parallel()
	page := strings.ReplaceAll(readPage(t, "ARCHITECTURE.md"), "\n", " ")
	lists := map[string]string{"nil": "nothing", "kernel": "kernel", "features": "features"}
	table := "| layer | may import of ours | |---|---| "
	for _, row := range listIn(t, "arch_test.go", "allowed").Elts {
		layer, may := row.(*ast.CompositeLit).Elts[0], row.(*ast.CompositeLit).Elts[1]
		words := ""
		if name, ok := may.(*ast.Ident); ok {
			words = lists[name.Name]
		} else if words = joined(t, may.(*ast.CompositeLit).Elts); words == "`*`" {
			words = "everything"
		}
		table += fmt.Sprintf("| `%s` | %s | ", literal(t, layer), words)
	}
	if !strings.Contains(page, table) {
		t.Errorf("section 2 of ARCHITECTURE.md does not hold the import table of arch_test.go. It is:\n\n%s",
			strings.ReplaceAll(table, " | | ", " |\n| "))
	}
	if kernel := "*kernel* is " + joined(t, listIn(t, "arch_test.go", "kernel").Elts) + "."; !strings.Contains(page, kernel) {
		t.Errorf("section 2 of ARCHITECTURE.md does not say: %s", kernel)
	}
	for _, list := range []string{"globals", "crossTenant"} {
		var keys []ast.Expr
		for _, e := range listIn(t, "sql_test.go", list).Elts {
			keys = append(keys, e.(*ast.KeyValueExpr).Key)
		}
		if names := joined(t, keys); !strings.Contains(page, names+".") {
			t.Errorf("section 4 of ARCHITECTURE.md does not list the %s of sql_test.go: %s", list, names)
		}
	}
}

// listIn returns the literal that a package variable of a test file holds.
func listIn(t *testing.T, file, name string) *ast.CompositeLit {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repository, file), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, s := range g.Specs {
			for i, n := range s.(*ast.ValueSpec).Names {
				if lit, ok := s.(*ast.ValueSpec).Values[i].(*ast.CompositeLit); ok && n.Name == name {
					return lit
				}
			}
		}
	}
	t.Fatalf("%s holds no list %s", file, name)
	return nil
}

func joined(t *testing.T, list []ast.Expr) string {
	t.Helper()
	var words []string
	for _, e := range list {
		words = append(words, "`"+literal(t, e)+"`")
	}
	return strings.Join(words, ", ")
}

func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	s, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	pageLink   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code       = regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	makeTarget = regexp.MustCompile("(?m)(?:^    |`)make ([a-z]+)")
)

// TestPagesPointSomewhere follows the links of all pages to files of this tree,
// and looks up the targets of make that they name.
func TestPagesPointSomewhere(t *testing.T) {
	t.Parallel()
	makefile := readPage(t, "Makefile")
	for _, page := range pages(t) {
		text := readPage(t, page)
		for _, found := range pageLink.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			to, _, _ := strings.Cut(found[1], "#")
			if to == "" || strings.Contains(to, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(repository, filepath.Dir(page), to)); err != nil {
				t.Errorf("%s points to %s: %v", page, found[1], err)
			}
		}
		for _, found := range makeTarget.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(makefile, "\n"+found[1]+":") {
				t.Errorf("%s names `make %s`, which the Makefile does not know", page, found[1])
			}
		}
	}
	for _, must := range []string{"    make run\n", "    make test\n"} {
		if !strings.Contains(readPage(t, "README.md"), must) {
			t.Errorf("README.md does not name %q", strings.TrimSpace(must))
		}
	}
}

// pages lists the Markdown files of the top folder and of docs.
func pages(t *testing.T) []string {
	t.Helper()
	found, err := fs.Glob(os.DirFS(repository), "*.md")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(repository), "docs", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
