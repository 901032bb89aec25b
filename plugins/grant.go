package plugins

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/guildhall-dev/guildhall/tenant"
)

// grant is what a plugin may do while it serves one request: as which
// installation, for whom, until when. It is known to this process alone.
type grant struct {
	*Installation
	running  slot         // whose process serves the request
	actor    tenant.Actor // who caused the request
	readOnly bool
	check    bool // of settings that are not saved yet
	until    time.Time
	request  string // id of the request that it serves, for the log
	source   string // address of the client
}

// grants are those of the requests that are on their way.
type grants struct {
	mu     sync.Mutex
	issued map[string]*grant
}

// issue returns a token that stands for the grant until end is called.
func (g *grants) issue(of *grant) (token string, end func()) {
	token = rand.Text()
	g.mu.Lock()
	g.issued[token] = of
	g.mu.Unlock()
	return token, func() {
		g.mu.Lock()
		delete(g.issued, token)
		g.mu.Unlock()
	}
}

// of returns what a token stands for, nil if it is unknown, over, or of another
// plugin's process.
func (g *grants) of(token string, process slot, now time.Time) *grant {
	g.mu.Lock()
	found := g.issued[token]
	g.mu.Unlock()
	if found == nil || found.running != process || now.After(found.until) {
		return nil
	}
	return found
}
