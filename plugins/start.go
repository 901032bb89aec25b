package plugins

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/tenant"
)

const selectBundle = `select p.number, v.sha256, v.signer, v.revoked_reason, v.manifest, s.public_key is not null as trusted, b.bundle
	from plugin_versions v join plugins p on p.id = v.plugin_id join plugin_bundles b on b.plugin_id = v.plugin_id and b.version = v.version
	left join plugin_signers s on s.public_key = v.signer
	where v.plugin_id = $1 and v.version = $2`

type bundleRow struct {
	Number   int             `db:"number"`
	SHA256   []byte          `db:"sha256"`
	Signer   string          `db:"signer"`
	Revoked  *string         `db:"revoked_reason"`
	Manifest json.RawMessage `db:"manifest"`
	Trusted  bool            `db:"trusted"`
	Bundle   []byte          `db:"bundle"`
}

// start runs a version. The bundle is read and verified in memory, at each
// start, and what was verified is what is executed: nothing on a disk can be
// changed in between.
func (h *Host) start(ctx context.Context, s slot) (_ *launch.Process, err error) {
	// Few at once, so that each has the time that a start may take: after the host's
	// own start there are many.
	select {
	case h.starts <- struct{}{}:
		defer func() { <-h.starts }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errHere, ctx.Err())
	}
	row, err := tenant.One[bundleRow](ctx, h.DB.Global(), selectBundle, s.plugin, s.version)
	switch {
	case errors.Is(err, tenant.ErrNoRows):
		return nil, fmt.Errorf("%w: this version is not in the catalogue any more", errHere)
	case err != nil:
		h.Log.ErrorContext(ctx, "the bundle of a plugin could not be read", "plugin", s.plugin, "version", s.version, "error", err)
		return nil, fmt.Errorf("%w: its bundle could not be read; the log of Guildhall says why", errHere)
	}
	b, err := row.verify(s.key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHere, err)
	}
	cmd, err := commandOf(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHere, err)
	}
	uid, leave, err := h.account(row.Number)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHere, err)
	}
	m := b.Manifest
	server := newHostServer(h, s)
	proc, err := launch.Start(ctx, launch.Spec{
		Name: s.plugin, Version: s.version, Command: cmd, UID: uid, Confine: h.Confine, TLS: m.Runtime.TLS == bundle.TLSAuto,
		Host: server, HostOptions: []grpc.ServerOption{
			grpc.MaxConcurrentStreams(mostCalls), grpc.MaxRecvMsgSize(mostMessage), grpc.InTapHandle(server.admit), grpc.UnaryInterceptor(h.safely),
		},
		Limits: launch.Limits{MemoryBytes: int64(m.Limits.MemoryMB) << 20, Processes: m.Limits.Processes, CPUPercent: m.Limits.CPUPercent, CPUWindow: h.Restart.CPU},
		Output: h.printed(ctx, s.key),
		Log:    h.Log,
	})
	if err != nil {
		leave()
		if errors.Is(err, launch.ErrNotRun) {
			err = fmt.Errorf("%w: %w", errHere, err)
		}
		return nil, err
	}
	go func() {
		<-proc.Done()
		leave()
	}()
	return proc, nil
}

// safely keeps a panic in a host call from ending the process for everybody.
func (h *Host) safely(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (res any, err error) {
	defer func() {
		if v := recover(); v != nil {
			h.Log.ErrorContext(ctx, "a host call panicked", "call", info.FullMethod, "panic", v, "stack", string(debug.Stack()))
			err = status.Error(codes.Internal, "the call failed inside Guildhall; its log says why")
		}
	}()
	return handler(ctx, req)
}

// startsAtOnce is how many processes start at the same time.
const startsAtOnce = 4

// errHere is a failure that is not the plugin's: it cannot be started on this
// machine, or may not. It is tried again, and nobody is quarantined for it.
var errHere = errors.New("it cannot be started here")

// accountsEach is how many accounts a plugin has: one for each process that runs at
// the same time, because the kernel counts processes by account.
const accountsEach = 32

// account is one that no other process has, on this machine as far as can be
// seen; leave gives it back. 0 is the host's own.
func (h *Host) account(number int) (uid int, leave func(), err error) {
	if os.Geteuid() != 0 || h.FirstUID == 0 {
		return 0, func() {}, nil
	}
	taken := launch.Accounts()
	h.accounts.Lock()
	defer h.accounts.Unlock()
	first, start := h.FirstUID+(number-1)*accountsEach, rand.IntN(accountsEach)
	for n := range accountsEach {
		uid := first + (start+n)%accountsEach
		if taken[uid] || h.accounts.of[uid] {
			continue
		}
		h.accounts.of[uid] = true
		return uid, func() {
			h.accounts.Lock()
			defer h.accounts.Unlock()
			delete(h.accounts.of, uid)
		}, nil
	}
	return 0, nil, fmt.Errorf("it has %d processes already", accountsEach)
}

// accounts are those that processes of this host run as.
type accounts struct {
	sync.Mutex
	of map[int]bool
}

// printed writes what a process prints into the log: not without end, because the
// log is on a disk.
func (h *Host) printed(ctx context.Context, k key) func(stream string, line []byte) {
	lines, told, lost := rate.NewLimiter(20, 500), rate.NewLimiter(rate.Every(time.Minute), 1), 0
	log := h.Log.With("plugin", k.plugin, "version", k.version)
	return func(stream string, line []byte) {
		if !lines.Allow() {
			lost++
			return
		}
		if lost > 0 && told.Allow() {
			log.WarnContext(ctx, "a plugin prints too much, so lines are left out", "lines", lost)
			lost = 0
		}
		log.InfoContext(ctx, "plugin output", "stream", stream, "line", string(line))
	}
}

// verify holds the bytes against what the operator let in.
func (r bundleRow) verify(k key) (*bundle.Bundle, error) {
	if r.Revoked != nil {
		return nil, fmt.Errorf("this version was revoked: %s", *r.Revoked)
	}
	if !r.Trusted {
		return nil, fmt.Errorf("its signer %s is not trusted here", r.Signer)
	}
	if sum := sha256.Sum256(r.Bundle); !bytes.Equal(sum[:], r.SHA256) {
		return nil, errors.New("its bundle is not the one that was installed: the checksum differs")
	}
	b, err := bundle.Read(r.Bundle)
	if err != nil {
		return nil, fmt.Errorf("its bundle is damaged: %w", err)
	}
	if b.Signer == nil || bundle.FormatPublic(b.Signer) != r.Signer {
		return nil, errors.New("its bundle is not signed by who signed what was installed")
	}
	// Bytes of the same signer, but of another version, are somebody else's
	// consent; and what the host goes by is what was signed.
	if b.Manifest.ID != k.plugin || b.Manifest.Version != k.version || !same(b.Manifest, r.Manifest) {
		return nil, errors.New("its bundle is not the one that was installed: its manifest differs")
	}
	return b, nil
}

// same compares a manifest with one as the catalogue keeps it, which orders the
// members of objects anew.
func same(m *bundle.Manifest, stored []byte) bool {
	signed, err := json.Marshal(m)
	var a, b any
	return err == nil && json.Unmarshal(signed, &a) == nil && json.Unmarshal(stored, &b) == nil && reflect.DeepEqual(a, b)
}

// interpreters are looked for here and nowhere else: the host's PATH may lead
// to folders of people.
var interpreterFolders = []string{"/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"}

func commandOf(b *bundle.Bundle) (launch.Command, error) {
	if b.Manifest.Runtime.Interpreter == "" {
		bin, err := b.Executable(runtime.GOOS, runtime.GOARCH)
		return launch.Command{Binary: bin}, err
	}
	for _, dir := range interpreterFolders {
		if path, err := exec.LookPath(filepath.Join(dir, b.Manifest.Runtime.Interpreter)); err == nil {
			return launch.Command{Path: path, Args: []string{b.Manifest.Runtime.Main}, Files: b.Files}, nil
		}
	}
	return launch.Command{}, fmt.Errorf("%s is not installed on this machine, in /usr/bin or /usr/local/bin", b.Manifest.Runtime.Interpreter)
}
