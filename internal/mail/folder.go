package mail

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"os"
	"path/filepath"
	"time"
)

// folder writes each message to a file of its own, <dir>/<time>-<id>.eml, which any mail program opens. The time is UTC
// to the millisecond, so that names sort by age.
type folder struct {
	dir  string
	from *netmail.Address
}

func (f *folder) Send(ctx context.Context, m Message) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mail: send: %w", err)
	}
	msg, id, err := compose(m, f.from)
	if err != nil {
		return fmt.Errorf("mail: send: %w", err)
	}
	// The folder holds links that log people in: it is for its owner alone.
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("mail: send: %w", err)
	}
	tmp, err := os.CreateTemp(f.dir, ".mail-*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("mail: send: %w", err)
	}
	_, err = msg.WriteTo(tmp)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		name := time.Now().UTC().Format("20060102T150405.000Z") + "-" + id + ".eml"
		err = os.Rename(tmp.Name(), filepath.Join(f.dir, name)) // readers of *.eml see whole messages only
	}
	if err != nil {
		return fmt.Errorf("mail: send: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	if err := syncDir(f.dir); err != nil {
		return fmt.Errorf("mail: send: %w", err)
	}
	return nil
}

// syncDir makes a new name in dir survive a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
