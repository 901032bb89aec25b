package pgembed

import "testing"

// An operator's tool finds the server that another process runs, by the data folder alone.
func TestRunning(t *testing.T) {
	t.Parallel()
	cfg := Config{DataDir: dataDir(t, true), Ephemeral: true}
	if _, err := Running(cfg.DataDir, "postgres"); err == nil {
		t.Error("a folder without a server gave an address")
	}
	s := mustStart(t, cfg)
	url, err := Running(cfg.DataDir, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	if url != s.URL("postgres") {
		t.Error("it is another address than the server's own")
	}
	if got := query(t, url, "select 'here'"); got != "here" {
		t.Errorf("answer %q", got)
	}
	mustStop(t, s)
	if _, err := Running(cfg.DataDir, "postgres"); err == nil {
		t.Error("a stopped server gave an address")
	}
}
