package main

import (
	"log/slog"

	"github.com/guildhall-dev/guildhall/api"
	"github.com/guildhall-dev/guildhall/authz"
	"github.com/guildhall-dev/guildhall/internal/mail"
	"github.com/guildhall-dev/guildhall/internal/seal"
	"github.com/guildhall-dev/guildhall/jobs"
	"github.com/guildhall-dev/guildhall/module"
	"github.com/guildhall-dev/guildhall/tenant"
)

// deps is what a feature may ask for.
type deps struct {
	DB        *tenant.DB
	Queue     *jobs.Queue
	Keys      *seal.Keyring
	Mail      mail.Sender
	PublicURL string
	Log       *slog.Logger
}

// features are the features of the product and what the wiring needs of them.
type features struct {
	modules   []module.Module
	authority *authz.Authority
	identify  api.Identify
}

// newFeatures is THE list of features. To add one, add a line here, a folder
// and a migration.
func newFeatures(d deps) (f features, err error) {
	return f, nil
}
