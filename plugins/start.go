package plugins

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"google.golang.org/grpc"

	"github.com/guildhall-dev/guildhall/plugins/sdk/bundle"
	"github.com/guildhall-dev/guildhall/plugins/sdk/launch"
	"github.com/guildhall-dev/guildhall/tenant"
)

const selectBundle = `select p.number, v.sha256, v.signer, v.revoked_reason, s.public_key is not null as trusted, b.bundle
	from plugin_versions v join plugins p on p.id = v.plugin_id join plugin_bundles b on b.plugin_id = v.plugin_id and b.version = v.version
	left join plugin_signers s on s.public_key = v.signer
	where v.plugin_id = $1 and v.version = $2`

type bundleRow struct {
	Number  int     `db:"number"`
	SHA256  []byte  `db:"sha256"`
	Signer  string  `db:"signer"`
	Revoked *string `db:"revoked_reason"`
	Trusted bool    `db:"trusted"`
	Bundle  []byte  `db:"bundle"`
}

// start runs a version. The bundle is read and verified in memory, at each
// start, and what was verified is what is executed: nothing on a disk can be
// changed in between.
func (h *Host) start(ctx context.Context, k key) (*launch.Process, error) {
	row, err := tenant.One[bundleRow](ctx, h.DB.Global(), selectBundle, k.plugin, k.version)
	switch {
	case errors.Is(err, tenant.ErrNoRows):
		return nil, errors.New("this version is not in the catalogue any more")
	case err != nil:
		return nil, fmt.Errorf("plugins: read the bundle of %s: %w", k, err)
	}
	b, err := row.verify()
	if err != nil {
		return nil, err
	}
	cmd, err := commandOf(b)
	if err != nil {
		return nil, err
	}
	m := b.Manifest
	uid := 0
	if os.Geteuid() == 0 && h.FirstUID > 0 {
		uid = h.FirstUID + row.Number
	}
	return launch.Start(ctx, launch.Spec{
		Name: k.plugin, Version: k.version, Command: cmd, UID: uid, Confine: h.Confine, TLS: m.Runtime.TLS == bundle.TLSAuto,
		Host: &hostServer{host: h, process: k}, HostOptions: []grpc.ServerOption{grpc.MaxConcurrentStreams(64), grpc.MaxRecvMsgSize(mostMessage)},
		Limits: launch.Limits{MemoryBytes: int64(m.Limits.MemoryMB) << 20, Processes: m.Limits.Processes, CPUPercent: m.Limits.CPUPercent},
		Output: func(stream string, line []byte) {
			h.Log.InfoContext(ctx, "plugin output", "plugin", k.plugin, "version", k.version, "stream", stream, "line", string(line))
		},
		Log: h.Log,
	})
}

// verify holds the bytes against what the operator let in.
func (r bundleRow) verify() (*bundle.Bundle, error) {
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
	return b, nil
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
