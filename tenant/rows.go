package tenant

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// Querier runs statements: a View, a *Tx, a GlobalView or a *GlobalTx.
type Querier interface {
	query(ctx context.Context, sql string, args []any, scan func(pgx.Rows) error) error
}

// ErrNoRows is returned by One and Value when the statement found nothing.
// Features turn it into their own not-found or stale-version answer.
var ErrNoRows = pgx.ErrNoRows

// One returns the single row of the statement as a struct with db tags, strict
// both ways: a column without a field and a field without a column are errors.
func One[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	var out T
	err := q.query(ctx, sql, args, func(rows pgx.Rows) (err error) {
		out, err = pgx.CollectOneRow(rows, pgx.RowToStructByName[T])
		return err
	})
	return out, err
}

// Value returns the single value of the statement.
func Value[T any](ctx context.Context, q Querier, sql string, args ...any) (T, error) {
	var out T
	err := q.query(ctx, sql, args, func(rows pgx.Rows) (err error) {
		out, err = pgx.CollectOneRow(rows, pgx.RowTo[T])
		return err
	})
	return out, err
}

// List returns all rows as structs; never nil. The statement bounds itself.
func List[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	out := []T{}
	err := q.query(ctx, sql, args, func(rows pgx.Rows) (err error) {
		out, err = pgx.AppendRows(out, rows, pgx.RowToStructByName[T])
		return err
	})
	return out, err
}

// Values returns all values of a one-column statement; never nil.
func Values[T any](ctx context.Context, q Querier, sql string, args ...any) ([]T, error) {
	out := []T{}
	err := q.query(ctx, sql, args, func(rows pgx.Rows) (err error) {
		out, err = pgx.AppendRows(out, rows, pgx.RowTo[T])
		return err
	})
	return out, err
}

// Exec runs a statement for its effect and returns how many rows it touched.
func Exec(ctx context.Context, q Querier, sql string, args ...any) (int64, error) {
	var n int64
	err := q.query(ctx, sql, args, func(rows pgx.Rows) error {
		rows.Close()
		n = rows.CommandTag().RowsAffected()
		return rows.Err()
	})
	return n, err
}

// NotFound turns ErrNoRows into the 404 for the noun and leaves other errors.
func NotFound(err error, noun string) error {
	if errors.Is(err, ErrNoRows) {
		return fault.NotFoundf(noun)
	}
	return err
}

// Constraint returns the name of the constraint that err violated, or "".
func Constraint(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.ConstraintName
	}
	return ""
}
