package plugins

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// One plugin takes a third of the places for background work, and no more.
func TestPlacesOfAPlugin(t *testing.T) {
	t.Parallel()
	h := quietHost()
	var leave func()
	for n := range placesEach {
		var ok bool
		if leave, ok = h.places.enter("slow"); !ok {
			t.Fatalf("no place after %d", n)
		}
	}
	if _, ok := h.places.enter("slow"); ok {
		t.Error("one plugin has more than its places")
	}
	if _, ok := h.places.enter("other"); !ok {
		t.Error("another plugin has none")
	}
	leave()
	if _, ok := h.places.enter("slow"); !ok {
		t.Error("a place that was left is not free")
	}
}

// Before a message is received, its call is looked at: without a good grant it is
// not taken, and the log tells of some; with one, so many are at once.
func TestCallsAreLookedAtBeforeTheirMessages(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h := New(Deps{Log: slog.New(slog.NewTextHandler(&log, nil))})
	at := slot{key: key{"probe", "1.0.0"}}
	s := newHostServer(h, at)
	for range 1000 {
		if _, err := s.admit(t.Context(), &tap.Info{}); err == nil {
			t.Fatal("a call without a grant was let in")
		}
	}
	if n := strings.Count(log.String(), "\n"); n < 1 || n > 10 {
		t.Errorf("the log has %d lines about it", n)
	}
	token, end := h.grants.issue(&grant{running: at, until: time.Now().Add(time.Hour)})
	defer end()
	info := &tap.Info{Header: metadata.Pairs("guildhall-grant", token)}
	ctx, over := context.WithCancel(t.Context())
	for range mostCalls {
		if _, err := s.admit(ctx, info); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.admit(t.Context(), info); err == nil {
		t.Error("more calls at once than a process may have")
	}
	over()
	for n := 0; s.calls.Load() > 0; n++ {
		if n > 1000 {
			t.Fatal("calls that are over still count")
		}
		time.Sleep(time.Millisecond)
	}
}

// An answer that comes too late halves what is told at once, one in time doubles it.
func TestPace(t *testing.T) {
	t.Parallel()
	var p pace
	late := &CallError{cause: status.Error(codes.DeadlineExceeded, "late")}
	for _, want := range []int{25, 12, 6, 3, 1, 1} {
		if p.learn(p.most(), late); p.most() != want {
			t.Errorf("%d, not %d", p.most(), want)
		}
	}
	for _, want := range []int{2, 4, 8, 16, 32, 50, 50} {
		if p.learn(p.most(), nil); p.most() != want {
			t.Errorf("%d, not %d", p.most(), want)
		}
	}
}
