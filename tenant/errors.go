package tenant

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// translate turns what the database says into a fault that a caller can act
// on: the constraint's name is the code. Raw database text stays in the cause,
// which only the log sees.
func translate(err error) error {
	if err == nil || fault.As(err) != nil || errors.Is(err, context.Canceled) {
		return err
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		if disconnected(err) {
			return unavailable(err)
		}
		return err
	}
	name := pg.ConstraintName
	words := strings.ReplaceAll(name, "_", " ")
	switch pg.Code {
	case "23505", "23P01": // unique, exclusion
		return fault.Conflictf(name, "Already there: %s.", words).Because(err)
	case "23503": // foreign key
		if strings.Contains(pg.Message, "update or delete on table") {
			return fault.Conflictf(name, "Still in use: %s.", words).Because(err)
		}
		return fault.New(fault.Invalid, name, "Refers to something that does not exist: %s.", words).Because(err)
	case "23514": // check
		return fault.New(fault.Invalid, name, "Breaks the rule %s.", words).Because(err)
	case "53300", "57P01", "57P02", "57P03", "57014", "25P03", "55P03": // too many, ending, starting, out of time
		return unavailable(err)
	case serializationFailure, deadlockDetected: // still, after the last attempt
		return busy(err)
	}
	return err
}

const serializationFailure, deadlockDetected = "40001", "40P01"

// disconnected reports whether the database was not reached or went away.
func disconnected(err error) bool {
	var dial *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &dial) || errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

func unavailable(cause error) error {
	f := fault.New(fault.Unavailable, "unavailable", "The database is not available. Try again shortly.").Because(cause)
	f.RetryAfter = time.Second
	return f
}

func busy(cause error) error {
	f := fault.New(fault.Unavailable, "unavailable", "Too many changes meet here at this moment. Try again shortly.").Because(cause)
	f.RetryAfter = time.Second
	return f
}

// retryable reports whether Postgres gave up a transaction that can simply be
// run again: serialization failure or deadlock.
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == serializationFailure || pg.Code == deadlockDetected)
}
