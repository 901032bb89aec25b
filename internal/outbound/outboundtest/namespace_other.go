//go:build !linux

package outboundtest

import (
	"errors"
	"testing"
)

// Alone needs Linux; elsewhere f does not run.
func Alone(t *testing.T, f func()) bool { return false }

// Opened needs Linux.
func Opened() (int, error) {
	return 0, errors.New("outboundtest: the system does not count connections")
}
