package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"testing"

	"github.com/guildhall-dev/guildhall/internal/id"
	"github.com/guildhall-dev/guildhall/tenant"
)

// place is rooms whose work says that it began and waits to be told how it
// ends.
type place struct {
	*rooms
	began chan string
	ends  chan error
}

func newPlace(t *testing.T, here int) *place {
	t.Helper()
	p := &place{began: make(chan string, 100), ends: make(chan error)}
	def := Definition{Kind: "test", Here: here, work: func(ctx context.Context, _ *tenant.DB, _ id.ID, args []byte, _ Info) error {
		p.began <- string(args)
		select {
		case err := <-p.ends:
			if errors.Is(err, errPanic) {
				panic("as asked")
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	p.rooms = newRooms(def, nil, slog.New(slog.DiscardHandler))
	p.start(t.Context())
	return p
}

var errPanic = errors.New("panic")

// What is asked for while it is at work is done once more, however often it is
// asked for: the run that is under way may have looked already.
func TestHereDoesAgainWhatWasAskedForMeanwhile(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 4)
	e := errand{organization: id.New(), args: "a"}
	p.do(e)
	<-p.began
	for range 3 {
		p.do(e)
	}
	for _, end := range []error{nil, Again(), errors.New("boom")} { // once more asked for, then once more by itself
		p.ends <- end
		if end == nil || errors.Is(end, Again()) {
			<-p.began
		}
	}
	p.stop()
	if len(p.began) != 0 || len(p.busy) != 0 {
		t.Errorf("%d runs too many, %d still at work", len(p.began), len(p.busy))
	}
}

// What is done apart does not wait for what is at work, as long as there is room.
func TestHereDoesApart(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 2)
	p.def.Apart = true
	e := errand{organization: id.New(), args: "a"}
	for range 3 {
		p.do(e)
	}
	<-p.began
	<-p.began // beside the first
	if n := p.free(); n != 0 {
		t.Errorf("room for %d more", n)
	}
	p.ends <- nil
	<-p.began // the third, for which there was no room
	p.ends <- nil
	p.ends <- nil
	p.stop()
	if len(p.began) != 0 || len(p.busy) != 0 {
		t.Errorf("%d runs too many, %d still at work", len(p.began), len(p.busy))
	}
}

func TestHereHasRoomForSoMany(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 2)
	for i := range 5 { // each found room before it committed
		p.do(errand{args: fmt.Sprint(i)})
	}
	if n := p.free(); n != 0 {
		t.Errorf("room for %d more while 3 wait", n)
	}
	seen := map[string]bool{<-p.began: true, <-p.began: true}
	for _, end := range []error{nil, errors.New("boom"), errPanic} {
		p.mu.Lock()
		if len(p.busy) != 2 {
			t.Errorf("%d at work, want 2", len(p.busy))
		}
		p.mu.Unlock()
		p.ends <- end
		seen[<-p.began] = true
	}
	p.ends <- nil
	p.ends <- nil
	p.stop()
	if len(seen) != 5 {
		t.Errorf("%d of 5 were done", len(seen))
	}
}

func TestHereIsClosedBeforeItStartsAndAfterItStops(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 2)
	p.do(errand{args: "a"})
	<-p.began
	stopped := make(chan struct{})
	go func() { p.stop(); close(stopped) }()
	for p.free() != 0 { // until it has begun to stop
		runtime.Gosched()
	}
	p.do(errand{args: "b"})
	p.ends <- Again() // nor does it go on
	<-stopped
	if len(p.began) != 0 {
		t.Errorf("%s was begun although it stops", <-p.began)
	}
	p.start(t.Context())
	if p.free() != 2 {
		t.Error("it does not start a second time")
	}
}
