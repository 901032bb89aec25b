package tenant

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/guildhall-dev/guildhall/internal/fault"
)

// translate turns what the database says into a fault that a caller can act
// on: the constraint's name is the code. Raw database text stays in the cause,
// which only the log sees.
func translate(err error) error {
	var pg *pgconn.PgError
	if err == nil || fault.As(err) != nil || !errors.As(err, &pg) {
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
	case "53300", "57P01", "57P02", "57P03":
		return fault.New(fault.Unavailable, "unavailable", "The database is not available. Try again shortly.").Because(err)
	}
	return err
}

// retryable reports whether Postgres gave up a transaction that can simply be
// run again: serialization failure or deadlock.
func retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}
