package main

import (
	"context"

	"github.com/guildhall-dev/guildhall/internal/config"
)

// firstStart fills an empty instance with the demonstration, if wanted.
func (s *shell) firstStart(context.Context, *app, config.Config) error { return nil }
