package tenant

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// GlobalView reads the tables that belong to no organisation, and calls the
// narrow functions that look across organisations. Under it no tenant is set,
// so a tenant table raises an error.
type GlobalView struct{ db *DB }

// Global returns the view of the tables without an organisation.
func (db *DB) Global() GlobalView { return GlobalView{db} }

func (v GlobalView) query(ctx context.Context, sql string, args []any, scan func(pgx.Rows) error) error {
	conn, err := v.db.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return translate(err)
	}
	return translate(scan(rows))
}

// GlobalTx writes the tables that belong to no organisation.
type GlobalTx struct{ *open }

// GlobalWrite runs fn in a transaction without an organisation.
func (db *DB) GlobalWrite(ctx context.Context, fn func(*GlobalTx) error) error {
	_, _, err := db.GlobalWriteOnce(ctx, nil, func(tx *GlobalTx) (Reply, error) { return Reply{}, fn(tx) })
	return err
}

// GlobalWriteOnce is GlobalWrite under an idempotency key; see WriteOnce.
func (db *DB) GlobalWriteOnce(ctx context.Context, c *Claim, fn func(*GlobalTx) (Reply, error)) (Reply, bool, error) {
	return db.once(ctx, c, "", func(ctx context.Context) (Reply, bool, error) {
		return db.transact(ctx, c, func(b *pgx.Batch) { b.Queue(prologueGlobal) }, globalKeys, func(o *open) (Reply, error) {
			return fn(&GlobalTx{o})
		})
	})
}

const prologueGlobal = `select '', '', '', '', now(), true`

// Enter goes on in the same transaction inside one organisation: for the few
// operations that begin outside one, such as making it or accepting an
// invitation to it. The caller has established the actor's right to do so.
func (g *GlobalTx) Enter(ctx context.Context, s Scope) (*Tx, error) {
	b := &pgx.Batch{}
	queuePrologue(b, s, false)
	br := g.conn.SendBatch(ctx, b)
	_, err := readPrologue(br)
	if cerr := br.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, fmt.Errorf("tenant.Enter: %w", err)
	}
	return &Tx{open: g.open, scope: s}, nil
}

// Now returns the transaction's time.
func (g *GlobalTx) Now() time.Time { return g.now }
