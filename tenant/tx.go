package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Tx writes one organisation's data. It is made, committed and rolled back by
// this package alone; a handler that returns an error has changed nothing.
type Tx struct {
	*open
	scope Scope
}

// open is a transaction that has begun.
type open struct {
	conn   *pgx.Conn
	now    time.Time
	queued []queuedStatement // sent in one message with commit
	wake   bool              // the relay has something to do after commit
	after  []func()
}

type queuedStatement struct {
	sql  string
	args []any
}

// Scope returns for whom the transaction writes.
func (t *Tx) Scope() Scope { return t.scope }

// Now returns the transaction's time, the only "now" that features use.
func (t *Tx) Now() time.Time { return t.now }

// Queue sends a statement together with commit. It is for rows that nothing in
// this transaction reads again: events, above all.
func (t *open) Queue(sql string, args ...any) {
	t.queued = append(t.queued, queuedStatement{sql, args})
}

// Wake makes the relay look for new events right after commit.
func (t *open) Wake() { t.wake = true }

// After calls fn right after commit, and never if there is none. It must not
// wait, and what it does may be lost with the process.
func (t *open) After(fn func()) { t.after = append(t.after, fn) }

func (t *open) query(ctx context.Context, sql string, args []any, scan func(pgx.Rows) error) error {
	rows, err := t.conn.Query(ctx, sql, args...)
	if err != nil {
		return translate(err)
	}
	return translate(scan(rows))
}

// Try runs fn under a savepoint: if it fails, its effects and its queued
// statements are undone, the transaction goes on, and the error is returned.
func (t *Tx) Try(ctx context.Context, fn func() error) error {
	mark := len(t.queued)
	if _, err := t.conn.Exec(ctx, "savepoint try"); err != nil {
		return fmt.Errorf("tenant.Try: %w", err)
	}
	if err := fn(); err != nil {
		t.queued = t.queued[:mark]
		if _, rerr := t.conn.Exec(ctx, "rollback to savepoint try; release savepoint try"); rerr != nil {
			return errors.Join(err, rerr)
		}
		return err
	}
	_, err := t.conn.Exec(ctx, "release savepoint try")
	return translate(err)
}

// Write runs fn in a transaction of the scope. A deadlock or a serialization
// failure runs it again, so fn touches nothing but the database.
func (db *DB) Write(ctx context.Context, s Scope, fn func(*Tx) error) error {
	_, _, err := db.WriteOnce(ctx, s, nil, func(tx *Tx) (Reply, error) { return Reply{}, fn(tx) })
	return err
}

// WriteOnce is Write under an idempotency key: if the claim was answered
// before, fn does not run and the stored reply is returned with true. A nil
// claim claims nothing.
func (db *DB) WriteOnce(ctx context.Context, s Scope, c *Claim, fn func(*Tx) (Reply, error)) (Reply, bool, error) {
	return db.once(ctx, c, s.Organization.String(), func(ctx context.Context) (Reply, bool, error) {
		return db.transact(ctx, c, func(b *pgx.Batch) { queuePrologue(b, s, false) }, tenantKeys, func(o *open) (Reply, error) {
			return fn(&Tx{open: o, scope: s})
		})
	})
}

// transact is the one place that begins and commits.
func (db *DB) transact(ctx context.Context, c *Claim, prologue func(*pgx.Batch), keys keyTable, fn func(*open) (Reply, error)) (reply Reply, replayed bool, err error) {
	for attempt := 1; ; attempt++ {
		reply, replayed, err = db.transactOnce(ctx, c, prologue, keys, fn)
		if err == nil || attempt == 4 || !retryable(err) || ctx.Err() != nil {
			return reply, replayed, translate(err)
		}
	}
}

func (db *DB) transactOnce(ctx context.Context, c *Claim, prologue func(*pgx.Batch), keys keyTable, fn func(*open) (Reply, error)) (reply Reply, replayed bool, err error) {
	pc, err := db.acquire(ctx)
	if err != nil {
		return Reply{}, false, err
	}
	defer pc.Release()
	o := &open{conn: pc.Conn()}
	committed := false
	defer func() {
		if !committed {
			rollback(ctx, o.conn)
		}
	}()

	first := &pgx.Batch{}
	first.Queue("begin")
	prologue(first)
	if c != nil {
		c.queueLookup(first, keys)
	}
	stored, err := o.sendFirst(ctx, first, c)
	if err != nil || stored != nil {
		if stored != nil {
			return *stored, true, err
		}
		return Reply{}, false, err
	}
	if reply, err = fn(o); err != nil {
		return Reply{}, false, err
	}
	if c != nil {
		c.queueStore(o, keys, reply)
	}
	if err := o.commit(ctx); err != nil {
		return Reply{}, false, err
	}
	committed = true
	if o.wake && db.onWake != nil {
		db.onWake()
	}
	for _, fn := range o.after {
		fn()
	}
	return reply, false, nil
}

func (t *open) sendFirst(ctx context.Context, b *pgx.Batch, c *Claim) (stored *Reply, err error) {
	br := t.conn.SendBatch(ctx, b)
	defer func() {
		if cerr := br.Close(); err == nil && cerr != nil {
			err = cerr
		}
	}()
	if _, err := br.Exec(); err != nil {
		return nil, fmt.Errorf("tenant begin: %w", err)
	}
	if t.now, err = readPrologue(br); err != nil {
		return nil, err
	}
	if c == nil {
		return nil, nil
	}
	return c.readLookup(br)
}

// commit sends what was queued and commit as one message.
func (t *open) commit(ctx context.Context) (err error) {
	b := &pgx.Batch{}
	for _, q := range t.queued {
		b.Queue(q.sql, q.args...)
	}
	b.Queue("commit")
	br := t.conn.SendBatch(ctx, b)
	defer func() {
		if cerr := br.Close(); err == nil && cerr != nil {
			err = cerr
		}
	}()
	for range t.queued {
		if _, err := br.Exec(); err != nil {
			return err
		}
	}
	tag, err := br.Exec()
	if err != nil {
		return err
	}
	// Postgres answers COMMIT of a failed transaction with ROLLBACK, not an error.
	if tag.String() != "COMMIT" {
		return errors.New("tenant: the transaction had failed and was rolled back")
	}
	return nil
}

// rollback ends a transaction that did not commit, also when the request is
// already cancelled; a connection that cannot be brought back is closed, and
// the pool replaces it.
func rollback(ctx context.Context, conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := conn.Exec(ctx, "rollback"); err != nil {
		_ = conn.Close(ctx)
	}
}

// Raw hands the open transaction to a library that needs pgx's interface; only
// package jobs uses it, to insert River jobs. It can neither commit nor begin.
func Raw(t interface{ raw() pgx.Tx }) pgx.Tx { return t.raw() }

func (t *open) raw() pgx.Tx { return rawTx{t.conn} }

type rawTx struct{ conn *pgx.Conn }

var errKernelOnly = errors.New("tenant: only the kernel begins and commits")

func (r rawTx) Begin(context.Context) (pgx.Tx, error) { return nil, errKernelOnly }
func (r rawTx) Commit(context.Context) error          { return errKernelOnly }
func (r rawTx) Rollback(context.Context) error        { return errKernelOnly }
func (r rawTx) LargeObjects() pgx.LargeObjects        { return pgx.LargeObjects{} }
func (r rawTx) Conn() *pgx.Conn                       { return r.conn }
func (r rawTx) CopyFrom(ctx context.Context, t pgx.Identifier, c []string, s pgx.CopyFromSource) (int64, error) {
	return r.conn.CopyFrom(ctx, t, c, s)
}
func (r rawTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return r.conn.SendBatch(ctx, b)
}
func (r rawTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	return r.conn.Prepare(ctx, name, sql)
}
func (r rawTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return r.conn.Exec(ctx, sql, args...)
}
func (r rawTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return r.conn.Query(ctx, sql, args...)
}
func (r rawTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return r.conn.QueryRow(ctx, sql, args...)
}
