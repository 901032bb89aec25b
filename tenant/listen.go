package tenant

import (
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
)

// Listen calls fn for each notification on the channel until ctx ends, on a
// connection of its own, which it replaces when it breaks. Notifications are a
// hint: one may be lost, so whoever uses this polls as well.
func Listen(ctx context.Context, db *DB, channel string, fn func(), log *slog.Logger) {
	for ctx.Err() == nil {
		if err := db.listenOnce(ctx, channel, fn); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "lost the connection that listens", "channel", channel, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (db *DB) listenOnce(ctx context.Context, channel string, fn func()) error {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
		fn()
	}
}
