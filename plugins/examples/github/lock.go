package main

import (
	"context"
	"errors"
	"time"

	"github.com/guildhall-dev/guildhall/plugins/sdk"
)

var errBusy = errors.New("another run is at it")

const (
	lockFor   = time.Minute            // longer than any request may take
	lockWait  = 3 * time.Second        // how long one waits for another
	lockEvery = 100 * time.Millisecond // how often one looks
)

// locked does something while nobody else does anything with what the key
// names. A lock whose holder ended is free after a minute.
func (w work) locked(ctx context.Context, what string, do func() error) error {
	key := "lock/" + w.s.Repo + "/" + what
	for began := time.Now(); ; {
		free, err := w.lock(ctx, key)
		if err != nil {
			return err
		}
		if free {
			break
		}
		if time.Since(began) > lockWait {
			return errBusy
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockEvery):
		}
	}
	return errors.Join(do(), w.c.Values().Delete(context.WithoutCancel(ctx), key))
}

func (w work) lock(ctx context.Context, key string) (bool, error) {
	v, err := w.c.Values().Get(ctx, key)
	if err != nil && !errors.Is(err, sdk.ErrNotFound) {
		return false, err
	}
	if err == nil {
		if until, err := time.Parse(time.RFC3339Nano, string(v.Bytes)); err == nil && time.Now().Before(until) {
			return false, nil
		}
	}
	_, err = w.c.Values().SetIf(ctx, key, []byte(time.Now().Add(lockFor).Format(time.RFC3339Nano)), v.Version)
	if errors.Is(err, sdk.ErrChanged) {
		return false, nil
	}
	return err == nil, err
}
