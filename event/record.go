package event

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// Facts without a business transaction (denied calls, reads that leave a
// trace) are recorded after the fact, one row per actor, operation and minute.
// The least id of that minute lets the primary key find the row to add to.
const recordFact = `with seen as (
	update event_log set occurrences = occurrences + 1
	where tenant_id = $1 and day = $2 and id > $13 and type = $4 and actor_kind = $6 and actor_id is not distinct from $7 and operation = $8
		and subject_id is not distinct from $12 and occurred_at > now() - interval '1 minute' and occurred_at >= $2::date
	returning 1
)
insert into event_log (tenant_id, day, id, type, public, schema_version, subject_type, subject_id, actor_kind, actor_id, operation, request_id, source_address, occurred_at, data)
select $1, $2, $3, $4, false, 1, $5, $12, $6, $7, $8, $9, $10, now(), $11
where not exists (select from seen)`

// Fact is something that happened outside a business transaction.
type Fact struct {
	Type    string // "call.denied"
	Subject id.ID  // may be nil
	Data    map[string]any
}

// Record writes a fact for the scope's actor into the organisation's log.
func Record(ctx context.Context, db *tenant.DB, s tenant.Scope, f Fact) error {
	s.Check = nil // what a caller with dead rights tried is a fact all the same
	raw, err := json.Marshal(f.Data)
	if err != nil {
		return fmt.Errorf("event.Record(%s): %w", f.Type, err)
	}
	eid := id.New()
	return db.Write(ctx, s, func(tx *tenant.Tx) error {
		_, err := tenant.Exec(ctx, tx, recordFact, s.Organization, Day(eid), eid, f.Type, subjectOf(f.Type),
			string(s.Actor.Kind), orNull(s.Actor.ID), s.Operation, s.RequestID, s.SourceAddress, raw, orNull(f.Subject), id.Floor(eid.Time().Add(-61*time.Second)))
		return err
	})
}
