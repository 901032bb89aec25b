package guildhall_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"

	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/go/packages"
)

const root = "github.com/guildhall-dev/guildhall"

// load reads every package of the product once, without its tests.
var load = sync.OnceValues(func() ([]*packages.Package, error) {
	return packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo,
	}, "./...")
})

func product(t *testing.T) []*packages.Package {
	t.Helper()
	pkgs, err := load()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pkgs {
		for _, e := range p.Errors {
			t.Fatalf("%s: %v", p.PkgPath, e)
		}
	}
	return pkgs
}

// allowed is section 2 of ARCHITECTURE.md: what each layer may import of ours.
// The first entry that matches a package decides; "x/*" is every folder below.
var allowed = []struct {
	layer string
	may   []string
}{
	{"internal/runtests", []string{"internal/*"}},
	{"internal/*", []string{"internal/*"}},
	{"migrations", []string{"internal/*"}},
	{"tenant/tenanttest", []string{"tenant", "migrations", "openapi/events", "internal/*"}},
	{"tenant", []string{"internal/*"}},
	{"jobs", []string{"tenant", "internal/*"}},
	{"authz", []string{"tenant", "internal/*"}},
	{"index", []string{"tenant", "internal/*"}},
	{"operation", []string{"jobs", "tenant", "internal/*"}},
	{"event", []string{"jobs", "tenant", "internal/*"}},
	{"api", []string{"authz", "event", "tenant", "internal/*"}},
	{"openapi/docs", nil},
	{"openapi/events", nil},
	{"openapi", []string{"api", "event", "openapi/events", "internal/*"}},
	{"console", nil},
	{"plugins/sdk", []string{"plugins/sdk/pluginpb"}},
	{"plugins/sdk/*", []string{"plugins/sdk", "plugins/sdk/*"}},
	{"plugins/examples/*", []string{"plugins/sdk", "plugins/sdk/*"}},
	{"plugins", []string{"api", "authz", "event", "jobs", "tenant", "plugins/sdk/*", "internal/*"}},
	{"module", kernel},
	{"work", []string{"event", "internal/*"}},
	{"commerce", []string{"event", "internal/*"}},
	{"work/*", features},
	{"commerce/*", features},
	{"platform/*", features},
	{"cmd/*", []string{"*"}},
}

var (
	kernel   = []string{"internal/*", "tenant", "jobs", "authz", "index", "operation", "event", "api", "plugins", "plugins/sdk/*"}
	features = append(slices.Clone(kernel), "module", "work", "commerce")
)

func matches(pattern, pkg string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(pkg, prefix)
	}
	return pattern == pkg
}

func TestArchitectureImports(t *testing.T) {
	t.Parallel()
	for _, complaint := range importComplaints(product(t)) {
		t.Error(complaint)
	}
}

func importComplaints(pkgs []*packages.Package) (out []string) {
	for _, p := range pkgs {
		self := strings.TrimPrefix(strings.TrimPrefix(p.PkgPath, root), "/")
		if self == "" {
			continue
		}
		i := slices.IndexFunc(allowed, func(l struct {
			layer string
			may   []string
		}) bool {
			return matches(l.layer, self)
		})
		if i < 0 {
			out = append(out, fmt.Sprintf("package %s has no place in the import table: put it where the layers of ARCHITECTURE.md say, or add its layer there and in arch_test.go", self))
			continue
		}
		for path := range p.Imports {
			dep, ours := strings.CutPrefix(path, root+"/")
			if !ours || slices.ContainsFunc(allowed[i].may, func(m string) bool { return matches(m, dep) }) {
				continue
			}
			why := fmt.Sprintf("%s may import only %s", allowed[i].layer, strings.Join(allowed[i].may, ", "))
			if isFeature(self) && isFeature(dep) {
				why = "a feature never imports another: listen to its event, or declare an interface of one to three methods here and let cmd/guildhall/modules.go pass the other feature"
			}
			out = append(out, fmt.Sprintf("%s imports %s: %s", self, dep, why))
		}
	}
	return out
}

func isFeature(pkg string) bool {
	for _, domain := range []string{"work/", "commerce/", "platform/"} {
		if strings.HasPrefix(pkg, domain) {
			return true
		}
	}
	return false
}

func TestArchitectureImportTableBites(t *testing.T) {
	t.Parallel()
	feature := func(path string, imports ...string) *packages.Package {
		p := &packages.Package{PkgPath: root + "/" + path, Imports: map[string]*packages.Package{}}
		for _, i := range imports {
			p.Imports[root+"/"+i] = nil
		}
		return p
	}
	for _, bad := range []*packages.Package{
		feature("work/tasks", "work/projects"), feature("platform/access", "platform/identity"),
		feature("tenant", "api"), feature("work", "tenant"), feature("helpers"), feature("plugins/sdk", "tenant"),
	} {
		if len(importComplaints([]*packages.Package{bad})) != 1 {
			t.Errorf("%s with %v passed", bad.PkgPath, bad.Imports)
		}
	}
	if got := importComplaints([]*packages.Package{feature("work/tasks", "tenant", "module", "work", "internal/id")}); got != nil {
		t.Errorf("a good feature was refused: %v", got)
	}
}

func TestArchitecturePackageComments(t *testing.T) {
	t.Parallel()
	for _, p := range product(t) {
		n := 0
		for _, f := range p.Syntax {
			if f.Doc != nil {
				n++
			}
		}
		if n != 1 {
			t.Errorf("package %s has %d package comments: write exactly one, which says what it is and why", p.PkgPath, n)
		}
	}
}

// door lists who may use what opens the way around tenant.View and tenant.Tx.
var door = map[string][]string{
	"Pool":    {"jobs"},
	"Raw":     {"jobs"},
	"pgxpool": {"tenant", "migrations"},
	"pgx":     {"tenant", "migrations", "jobs", "cmd/guildhall", "internal/pgembed", "internal/runtests", "tenant/tenanttest"},
}

func TestArchitectureOneDoorToTheDatabase(t *testing.T) {
	t.Parallel()
	for _, p := range product(t) {
		self := strings.TrimPrefix(strings.TrimPrefix(p.PkgPath, root), "/")
		for path := range p.Imports {
			for name, lib := range map[string]string{"pgxpool": "github.com/jackc/pgx/v5/pgxpool", "pgx": "github.com/jackc/pgx/v5"} {
				if path == lib && !slices.Contains(door[name], self) {
					t.Errorf("%s imports %s: only tenant touches the database; take a tenant.View or a *tenant.Tx", self, name)
				}
			}
			if path == "database/sql" && self != "migrations" {
				t.Errorf("%s imports database/sql: only tenant touches the database", self)
			}
		}
		for id, obj := range p.TypesInfo.Uses {
			fn, ok := obj.(*types.Func)
			if !ok || fn.Pkg() == nil || fn.Pkg().Path() != root+"/tenant" || self == "tenant" {
				continue
			}
			if who, guarded := door[fn.Name()]; guarded && !slices.Contains(who, self) {
				t.Errorf("%s: %s uses tenant.%s, which is for %v: take a tenant.View or a *tenant.Tx", p.Fset.Position(id.Pos()), self, fn.Name(), who)
			}
		}
	}
}

// forbidden calls, with what to use instead.
var forbidden = map[string]string{
	"net/http.Get":           "internal/outbound.Client",
	"net/http.Post":          "internal/outbound.Client",
	"net/http.DefaultClient": "internal/outbound.Client",
}

func TestArchitectureHabits(t *testing.T) {
	t.Parallel()
	for _, p := range product(t) {
		self := strings.TrimPrefix(strings.TrimPrefix(p.PkgPath, root), "/")
		for id, obj := range p.TypesInfo.Uses {
			if obj.Pkg() == nil {
				continue
			}
			if fn, ok := obj.(*types.Func); ok && fn.Signature().Recv() != nil {
				continue
			}
			name := obj.Pkg().Path() + "." + obj.Name()
			if use, ok := forbidden[name]; ok {
				t.Errorf("%s uses %s: use %s", p.Fset.Position(id.Pos()), name, use)
			}
		}
		for _, f := range p.Syntax {
			if ast.IsGenerated(f) {
				continue // protoc's code fills its own tables
			}
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s: %s has an init(): wiring is one list, in cmd/guildhall/modules.go", p.Fset.Position(fn.Pos()), self)
				}
			}
		}
	}
}

// constants returns every string constant and constant expression of the
// product that looks like SQL, folded by the type checker.
func constants(pkgs []*packages.Package) map[string]string {
	out := map[string]string{}
	for _, p := range pkgs {
		if strings.HasSuffix(p.PkgPath, "/migrations") || strings.HasSuffix(p.PkgPath, "tenanttest") || strings.Contains(p.PkgPath, "/internal/") {
			continue
		}
		nested := map[ast.Expr]bool{} // operands of a longer expression
		for _, f := range p.Syntax {
			ast.Inspect(f, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				tv, ok := p.TypesInfo.Types[e]
				if !ok || tv.Value == nil || tv.Value.Kind() != constant.String {
					return true
				}
				if b, ok := e.(*ast.BinaryExpr); ok {
					nested[b.X], nested[b.Y] = true, true
				}
				if nested[e] {
					return true
				}
				if sql := constant.StringVal(tv.Value); looksLikeSQL(sql) {
					out[sql] = p.Fset.Position(e.Pos()).String()
				}
				return true
			})
		}
	}
	return out
}

func looksLikeSQL(s string) bool {
	s = strings.ToLower(strings.TrimSpace(s))
	for _, verb := range []string{"select ", "insert into ", "update ", "delete from ", "with "} {
		if strings.HasPrefix(s, verb) && (verb != "with " || strings.Contains(s, " as (")) && (verb != "update " || strings.Contains(s, " set ")) {
			return true
		}
	}
	return false
}
