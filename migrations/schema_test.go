package migrations_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/guildhall-dev/guildhall/migrations"
	"github.com/guildhall-dev/guildhall/tenant/tenanttest"
)

const golden = "schema.sql"

func TestGoldenSchema(t *testing.T) {
	t.Parallel()
	got, err := migrations.Schema(context.Background(), tenanttest.New(t).SuperURL)
	if err != nil {
		t.Fatal(err)
	}
	sameAsGolden(t, got)
	if os.Getenv("GUILDHALL_UPDATE") == "" {
		return
	}
	if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sameAsGolden shows the first line that differs.
func sameAsGolden(t *testing.T, got string) {
	t.Helper()
	want, err := os.ReadFile(golden)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if got == string(want) || os.Getenv("GUILDHALL_UPDATE") != "" {
		return
	}
	a, b := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	line := func(lines []string) string {
		if i < len(lines) {
			return lines[i]
		}
		return "(the end)"
	}
	t.Errorf("the migrations make another schema than migrations/%s says: run make generate, read the difference as the change of contract "+
		"that it is, and add a line in CHANGELOG.md\nline %d\n  is    %s\n  was   %s", golden, i+1, line(a), line(b))
}
