package tenant

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// View reads one organisation's data. Each statement is one round trip in a
// read-only transaction of its own; Snapshot joins several into one.
type View struct {
	db    *DB
	scope Scope
}

// View returns a view for the scope.
func (db *DB) View(s Scope) View { return View{db: db, scope: s} }

// Scope returns for whom the view reads.
func (v View) Scope() Scope { return v.scope }

func (v View) query(ctx context.Context, sql string, args []any, scan func(pgx.Rows) error) (err error) {
	b := &pgx.Batch{}
	queuePrologue(b, v.scope, true)
	b.Queue(sql, args...)
	conn, err := v.db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	br := conn.SendBatch(ctx, b)
	defer func() {
		if cerr := br.Close(); err == nil && cerr != nil {
			err = cerr
		}
		err = translate(err)
	}()
	if _, err := readPrologue(br); err != nil {
		return err
	}
	rows, err := br.Query()
	if err != nil {
		return err
	}
	return scan(rows)
}

// Batch collects the statements of a Snapshot.
type Batch struct {
	pgx   pgx.Batch
	scans []func(pgx.Rows) error
}

// QueueOne reads one struct into dst; no row leaves ErrNoRows.
func QueueOne[T any](b *Batch, dst *T, sql string, args ...any) {
	b.pgx.Queue(sql, args...)
	b.scans = append(b.scans, func(rows pgx.Rows) (err error) {
		*dst, err = pgx.CollectOneRow(rows, pgx.RowToStructByName[T])
		return err
	})
}

// QueueValue reads one value into dst.
func QueueValue[T any](b *Batch, dst *T, sql string, args ...any) {
	b.pgx.Queue(sql, args...)
	b.scans = append(b.scans, func(rows pgx.Rows) (err error) {
		*dst, err = pgx.CollectOneRow(rows, pgx.RowTo[T])
		return err
	})
}

// QueueList reads all rows into dst.
func QueueList[T any](b *Batch, dst *[]T, sql string, args ...any) {
	b.pgx.Queue(sql, args...)
	b.scans = append(b.scans, func(rows pgx.Rows) (err error) {
		*dst, err = pgx.AppendRows([]T{}, rows, pgx.RowToStructByName[T])
		return err
	})
}

// Snapshot runs several statements on one REPEATABLE READ snapshot in one
// round trip.
func (v View) Snapshot(ctx context.Context, fill func(*Batch)) (err error) {
	var wanted Batch
	fill(&wanted)
	all := &pgx.Batch{}
	all.Queue("begin isolation level repeatable read read only")
	queuePrologue(all, v.scope, true)
	all.QueuedQueries = append(all.QueuedQueries, wanted.pgx.QueuedQueries...)
	all.Queue("commit")

	conn, err := v.db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	br := conn.SendBatch(ctx, all)
	defer func() {
		if cerr := br.Close(); err == nil && cerr != nil {
			err = cerr
		}
		if err != nil && conn.Conn().PgConn().TxStatus() != 'I' {
			rollback(ctx, conn.Conn())
		}
		err = translate(err)
	}()
	if _, err := br.Exec(); err != nil {
		return fmt.Errorf("tenant.Snapshot begin: %w", err)
	}
	if _, err := readPrologue(br); err != nil {
		return err
	}
	for _, scan := range wanted.scans {
		rows, err := br.Query()
		if err != nil {
			return err
		}
		if err := scan(rows); err != nil {
			return err
		}
	}
	_, err = br.Exec()
	return err
}
