package tenant

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/guildhall-dev/guildhall/internal/fault"
	"github.com/guildhall-dev/guildhall/internal/id"
)

// Claim asks that an operation has its effect once. Its scope is the
// organisation (or the instance), the principal and the operation.
type Claim struct {
	Principal string // "user:<id>", or "anonymous"
	Operation string
	Key       string // as the client sent it; only its hash is stored
	Hash      []byte // of the request; another one under the same key is refused
	Wait      time.Duration
}

// Reply is what an operation answered and what a repeat of it gets.
type Reply struct {
	Status int
	Header map[string]string
	Body   []byte
	// Project is what the reply is about, where the right to see it is the right
	// to see the project: a repeat asks for that right again.
	Project *id.ID
	// Projects are further ones, for a reply about rows of many: a repeat asks
	// for the right to see each.
	Projects []id.ID
}

// keyLife is how long a reply is kept.
const keyLife = "72 hours"

// errKeyBusy means that the same key is being worked on elsewhere.
var errKeyBusy = errors.New("tenant: the idempotency key is in use")

type keyTable struct{ find, store string }

// The row is written once, with the reply, in the transaction of the effect.
// What keeps two copies apart meanwhile is the advisory lock; what makes a
// second effect impossible is the primary key.
var (
	tenantKeys = keyTable{
		find: `select request_hash, status, headers, body,
				(project_id is null or exists (select from project_access a where a.tenant_id = idempotency_keys.tenant_id and a.project_id = idempotency_keys.project_id))
				and not exists (select from unnest(project_ids) as p (id) where not exists (select from project_access a
					where a.tenant_id = idempotency_keys.tenant_id and a.project_id = p.id))
			from idempotency_keys where tenant_id = current_setting('app.tenant_id')::uuid and principal = $1 and operation = $2 and key_hash = $3 and expires_at > now()`,
		store: `insert into idempotency_keys (tenant_id, principal, operation, key_hash, request_hash, status, headers, body, project_id, project_ids, expires_at)
			values (current_setting('app.tenant_id')::uuid, $1, $2, $3, $4, $5, $6, $7, $8, $9, now() + interval '` + keyLife + `')
			on conflict (tenant_id, principal, operation, key_hash) do update set request_hash = excluded.request_hash, status = excluded.status,
				headers = excluded.headers, body = excluded.body, project_id = excluded.project_id, project_ids = excluded.project_ids, expires_at = excluded.expires_at where idempotency_keys.expires_at <= now()`,
	}
	globalKeys = keyTable{
		find: `select request_hash, status, headers, body, true from global_idempotency_keys
			where principal = $1 and operation = $2 and key_hash = $3 and expires_at > now()`,
		store: `insert into global_idempotency_keys (principal, operation, key_hash, request_hash, status, headers, body, expires_at)
			select $1, $2, $3, $4, $5, $6, $7, now() + interval '` + keyLife + `' where $8::uuid is null and $9::uuid[] is null -- nothing global has a project
			on conflict (principal, operation, key_hash) do update set request_hash = excluded.request_hash, status = excluded.status,
				headers = excluded.headers, body = excluded.body, expires_at = excluded.expires_at where global_idempotency_keys.expires_at <= now()`,
	}
)

func (c *Claim) keyHash() []byte {
	h := sha256.Sum256([]byte(c.Key))
	return h[:]
}

func (c *Claim) lockNumber() int64 {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00%s", c.Principal, c.Operation, c.Key)
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}

func (c *Claim) queueLookup(b *pgx.Batch, t keyTable) {
	b.Queue("select pg_try_advisory_xact_lock($1)", c.lockNumber())
	b.Queue(t.find, c.Principal, c.Operation, c.keyHash())
}

func (c *Claim) readLookup(br pgx.BatchResults) (*Reply, error) {
	var locked bool
	if err := br.QueryRow().Scan(&locked); err != nil {
		return nil, err
	}
	var hash []byte
	var r Reply
	var visible bool
	err := br.QueryRow().Scan(&hash, &r.Status, &r.Header, &r.Body, &visible)
	switch {
	case err == nil && subtle.ConstantTimeCompare(hash, c.Hash) != 1:
		return nil, fault.New(fault.Invalid, "idempotency_mismatch",
			"This Idempotency-Key was used with another request. Use a new key for a new request.")
	case err == nil && !visible:
		return nil, fault.New(fault.NotFound, "not_found", "What this request was answered with is not there for you any more.")
	case err == nil:
		return &r, nil
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, err
	case !locked:
		return nil, errKeyBusy
	}
	return nil, nil
}

func (c *Claim) queueStore(o *open, t keyTable, r Reply) {
	if r.Status < 200 || r.Status > 299 {
		return
	}
	header := r.Header
	if header == nil {
		header = map[string]string{}
	}
	o.Queue(t.store, c.Principal, c.Operation, c.keyHash(), c.Hash, r.Status, header, r.Body, r.Project, r.Projects)
}

// keyLocks lets copies of a request that meet in one process wait here rather
// than in the database, where each would hold a connection.
type keyLocks struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	ch      chan struct{} // holds one token while free
	waiters int
}

func (l *keyLocks) acquire(ctx context.Context, name string, wait time.Duration) (release func(), ok bool) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*keyLock{}
	}
	k := l.held[name]
	if k == nil {
		k = &keyLock{ch: make(chan struct{}, 1)}
		k.ch <- struct{}{}
		l.held[name] = k
	}
	k.waiters++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		if k.waiters--; k.waiters == 0 {
			delete(l.held, name)
		}
		l.mu.Unlock()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-k.ch:
		return func() { k.ch <- struct{}{}; leave() }, true
	case <-timer.C:
	case <-ctx.Done():
	}
	leave()
	return nil, false
}

// once serialises the copies of a claim: in this process by a lock outside the
// connection pool, across replicas by asking again until the wait is over.
func (db *DB) once(ctx context.Context, c *Claim, realm string, run func(context.Context) (Reply, bool, error)) (Reply, bool, error) {
	if c == nil {
		return run(ctx)
	}
	wait := c.Wait
	if wait == 0 {
		wait = 10 * time.Second
	}
	busy := fault.Conflictf("idempotency_in_progress", "A request with this Idempotency-Key is still running. Try again shortly.")
	busy.RetryAfter = time.Second
	deadline := time.Now().Add(wait)
	release, ok := db.locks.acquire(ctx, realm+"\x00"+c.Principal+"\x00"+c.Operation+"\x00"+c.Key, wait)
	if !ok {
		return Reply{}, false, busy
	}
	defer release()
	for {
		r, replayed, err := run(ctx)
		if !errors.Is(err, errKeyBusy) {
			return r, replayed, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return Reply{}, false, busy
		}
		timer := time.NewTimer(min(left, 100*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Reply{}, false, ctx.Err()
		}
	}
}
