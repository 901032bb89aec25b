package pgembed

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Running is the connection string of the superuser postgres to the database on the server that another live process
// runs in the data folder, so that an operator's tool can work beside it. Only a user who may read the cluster's files
// gets it. The server is not ours: it may end at any moment.
func Running(dataDir, database string) (string, error) {
	cfg, err := Config{DataDir: dataDir}.complete()
	if err != nil {
		return "", fmt.Errorf("pgembed.Running: %w", err)
	}
	lock, err := lockDir(cfg.DataDir)
	if err == nil {
		lock.release()
		return "", fmt.Errorf("pgembed.Running: no server runs in %s", cfg.DataDir)
	}
	if !errors.Is(err, ErrInUse) {
		return "", fmt.Errorf("pgembed.Running: %w", err)
	}
	password, err := os.ReadFile(filepath.Join(clusterDir(cfg.DataDir, newestCluster(cfg.DataDir)), passwordName))
	if err != nil {
		return "", fmt.Errorf("pgembed.Running: %w", err)
	}
	for _, parent := range socketParents() {
		dir := filepath.Join(parent, socketName(cfg.DataDir))
		if _, err := os.Stat(socketPath(dir)); err == nil {
			s := &Server{socketDir: dir, password: strings.TrimSpace(string(password))}
			return s.URL(database), nil
		}
	}
	return "", fmt.Errorf("pgembed.Running: the server of %s is not up yet", cfg.DataDir)
}
