package migrations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Schema prints the product's schema (not River's) as it stands in the
// database of the connection string: tables, indexes, policies, grants, views,
// functions. The text depends on what the migrations made and on nothing else:
// neither on the Postgres version (15 to 18) nor on the day, since partitions
// are left out. It is for people and for comparing, not for restoring.
//
// What this printer does not know, such as a sequence of its own or a domain,
// is an error, so that nothing can be missing from the text unseen.
func Schema(ctx context.Context, url string) (string, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return "", errors.New("migrations.Schema: the database URL is not valid")
	}
	// Names in this schema are printed without it, built-in ones alike.
	cfg.RuntimeParams["search_path"] = "guildhall"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return "", fmt.Errorf("migrations.Schema: %w", err)
	}
	defer conn.Close(ctx)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return "", fmt.Errorf("migrations.Schema: %w", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	unknown, err := collect[string](ctx, tx, selectUnknown, pgx.RowTo[string])
	if err != nil {
		return "", fmt.Errorf("migrations.Schema: %w", err)
	}
	if len(unknown) > 0 {
		return "", fmt.Errorf("migrations.Schema: cannot print %s: teach migrations/schema.go to", strings.Join(unknown, ", "))
	}
	var parts []part
	for _, sql := range []string{selectSchema, selectFunctions, selectTables, selectTableParts, selectViews, selectGrants, selectComments} {
		some, err := collect(ctx, tx, sql, pgx.RowToStructByPos[part])
		if err != nil {
			return "", fmt.Errorf("migrations.Schema: %w", err)
		}
		parts = append(parts, some...)
	}
	return render(parts), nil
}

// part is a statement about an object.
type part struct {
	Kind   int // of object: schema, function, table, view
	Object string
	Step   int // of the object: what it is, then its indexes, policies, grants, comments
	Name   string
	Text   string
}

const kindView = 4

func collect[T any](ctx context.Context, tx pgx.Tx, sql string, scan pgx.RowToFunc[T]) ([]T, error) {
	rows, err := tx.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// render sorts by bytes, since the order of the database's collation is its own.
func render(parts []part) string {
	slices.SortFunc(parts, func(a, b part) int {
		return cmp.Or(a.Kind-b.Kind, strings.Compare(a.Object, b.Object), a.Step-b.Step, strings.Compare(a.Name, b.Name), strings.Compare(a.Text, b.Text))
	})
	var out strings.Builder
	out.WriteString("-- What all migrations together make, printed from the catalogue by make generate.\n")
	for i, p := range parts {
		if i == 0 || p.Kind != parts[i-1].Kind || p.Object != parts[i-1].Object {
			out.WriteString("\n")
		}
		text := p.Text
		if p.Kind == kindView && p.Step == 0 {
			text = sameView(text)
		}
		out.WriteString(strings.TrimRight(text, " \n;") + ";\n")
	}
	return out.String()
}

// sameView removes the one difference between versions in the text of a view:
// where it reads a single relation, Postgres 15 qualifies the columns by it and
// 16 does not.
func sameView(text string) string {
	from := outermost(text, " FROM ")
	if from < 0 {
		return text
	}
	source := text[from+len(" FROM "):]
	for _, end := range []string{" WHERE ", " GROUP BY ", " HAVING ", " WINDOW ", " UNION ", " ORDER BY ", " LIMIT "} {
		if i := outermost(source, end); i >= 0 {
			source = source[:i]
		}
	}
	if outermost(source, " JOIN ") >= 0 || outermost(source, ",") >= 0 {
		return text
	}
	words := strings.Fields(strings.TrimRight(source, " \n;"))
	alias := regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(words[len(words)-1]) + `\.`)
	return alias.ReplaceAllString(text, "$1")
}

// outermost is the place of the word in SQL outside parentheses and quotes, -1
// if there is none. Line breaks count as spaces.
func outermost(sql, word string) int {
	sql = strings.ReplaceAll(sql, "\n", " ")
	depth, quote := 0, byte(0)
	for i := range len(sql) {
		switch c := sql[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0 && strings.HasPrefix(sql[i:], word):
			return i
		}
	}
	return -1
}
