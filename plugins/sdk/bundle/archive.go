package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// What a bundle may be at most.
const (
	MaxPacked   = 64 << 20
	MaxUnpacked = 256 << 20
	MaxFiles    = 2000
)

func tooLarge(file, format string, args ...any) error {
	return &Error{Kind: TooLarge, File: file, Problem: fmt.Sprintf(format, args...), Do: "leave out what the plugin does not need to run"}
}

func damaged(err error) error {
	return &Error{Kind: NotABundle, Problem: "this is no bundle, or a damaged one", Do: "fetch it again, or make it with guildhall plugin pack", Err: err}
}

// counter refuses to hand on more than is left.
type counter struct {
	r    io.Reader
	left int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, tooLarge("", "the bundle unpacks to more than %d MiB", MaxUnpacked>>20)
	}
	return n, err
}

// unpack reads the archive into memory, to its last byte.
func unpack(data []byte) (map[string][]byte, error) {
	if len(data) > MaxPacked {
		return nil, tooLarge("", "the bundle has %d bytes, at most %d MiB are allowed", len(data), MaxPacked>>20)
	}
	src := bytes.NewReader(data)
	z, err := gzip.NewReader(src)
	if err != nil {
		return nil, damaged(err)
	}
	z.Multistream(false)
	plain := &counter{z, MaxUnpacked + MaxFiles*1024}
	files, err := untar(plain, bestRatio*int64(len(data)))
	if err == nil {
		err = onlyZeros(plain) // and with it gzip's own checksum
	}
	var ours *Error
	switch {
	case errors.As(err, &ours):
		return nil, ours
	case err != nil:
		return nil, damaged(err)
	case src.Len() > 0:
		return nil, damaged(fmt.Errorf("%d bytes after its end", src.Len()))
	}
	return files, nil
}

// bestRatio is more than DEFLATE can ever save: 1032 to 1.
const bestRatio = 1040

// untar reads the files of an archive, of which none can be larger than most.
func untar(r io.Reader, most int64) (map[string][]byte, error) {
	files, seen, left := map[string][]byte{}, names{}, int64(MaxUnpacked)
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || len(h.PAXRecords) > 0 || h.Format&tar.FormatUSTAR == 0 {
			return nil, &Error{Kind: BadEntry, File: clip(h.Name), Problem: "is no plain file of a USTAR archive (no folders, links, devices, extensions)", Do: "make the bundle with guildhall plugin pack"}
		}
		if why := seen.add(h.Name); why != "" {
			return nil, &Error{Kind: BadPath, File: clip(h.Name), Problem: "the name " + why, Do: "rename the file and pack again"}
		}
		if len(files) == MaxFiles {
			return nil, tooLarge("", "the bundle has more than %d files", MaxFiles)
		}
		if left -= h.Size; left < 0 {
			return nil, tooLarge("", "the bundle unpacks to more than %d MiB", MaxUnpacked>>20)
		}
		if h.Size > most {
			return nil, fmt.Errorf("its header promises %d bytes of %q, which cannot be in it", h.Size, clip(h.Name))
		}
		content := make([]byte, h.Size)
		if _, err := io.ReadFull(t, content); err != nil {
			return nil, err
		}
		files[h.Name] = content
	}
}

// onlyZeros reads to the end, where an archive has only its padding.
func onlyZeros(r io.Reader) error {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		if slices.ContainsFunc(b[:n], func(c byte) bool { return c != 0 }) {
			return errors.New("there is something after the archive's end")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pack writes the archive: the same files make the same bytes.
func pack(files map[string][]byte, programs map[string]bool) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress the bundle: %w", err)
	}
	t := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if programs[name] {
			h.Mode = 0o755
		}
		if err := t.WriteHeader(h); err != nil {
			return nil, &Error{Kind: BadPath, File: name, Problem: "the name does not fit into an archive", Do: "shorten it, or the names of its folders", Err: err}
		}
		if _, err := t.Write(files[name]); err != nil {
			return nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := errors.Join(t.Close(), z.Close()); err != nil {
		return nil, fmt.Errorf("pack the bundle: %w", err)
	}
	if out.Len() > MaxPacked {
		return nil, tooLarge("", "the bundle has %d bytes, at most %d MiB are allowed", out.Len(), MaxPacked>>20)
	}
	return out.Bytes(), nil
}
