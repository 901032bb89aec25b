package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	plain := smallBundle(t)
	b, err := Read(plain)
	if err != nil {
		t.Fatal(err)
	}
	if b.Signer != nil || b.Manifest.ID != "hello" || len(b.Files) != 2 || string(b.Files[manifestFile]) != small {
		t.Errorf("the unsigned bundle reads as %+v", b)
	}
	got, err := b.Executable("linux", "amd64")
	if err != nil || !bytes.Equal(got, program()) {
		t.Errorf("the program is %x, %v", got, err)
	}
	if _, err := b.Executable("linux", "arm64"); !IsKind(err, NoBinary) || !strings.Contains(err.Error(), "only for linux_amd64") {
		t.Errorf("a platform that is not there: %v", err)
	}
	one, two := testKey(1), testKey(2)
	for _, again := range [][]byte{signed(t, plain, one), signed(t, signed(t, plain, two), one)} {
		b, err := Read(again)
		if err != nil || !b.Signer.Equal(one.Public()) || len(b.Files) != 2 {
			t.Errorf("the signed bundle reads as %+v, %v", b, err)
		}
		if !bytes.Equal(again, signed(t, plain, one)) {
			t.Error("signing again makes other bytes")
		}
	}
	if _, err := Sign([]byte("no"), one); !IsKind(err, NotABundle) {
		t.Errorf("no bundle is signed: %v", err)
	}
	if _, err := Sign(plain, nil); !IsKind(err, BadKey) {
		t.Errorf("without a key: %v", err)
	}
}

func TestPackIsDeterministic(t *testing.T) {
	t.Parallel()
	files := map[string]string{manifestFile: python, "main.py": "print()", "lib/b.py": "b", "lib/a.py": "a"}
	if !bytes.Equal(packed(t, files), packed(t, files)) {
		t.Error("two packs of the same files differ")
	}
}

func TestHostileArchives(t *testing.T) {
	t.Parallel()
	manifest, hello := file(manifestFile, small), file("bin/hello", string(program()))
	link := entry{tar.Header{Typeflag: tar.TypeSymlink, Name: "x", Linkname: "/etc/passwd", Format: tar.FormatUSTAR}, ""}
	hard := entry{tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: manifestFile, Format: tar.FormatUSTAR}, ""}
	device := entry{tar.Header{Typeflag: tar.TypeChar, Name: "x", Devmajor: 1, Devminor: 3, Format: tar.FormatUSTAR}, ""}
	fifo := entry{tar.Header{Typeflag: tar.TypeFifo, Name: "x", Format: tar.FormatUSTAR}, ""}
	dir := entry{tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Format: tar.FormatUSTAR}, ""}
	pax := entry{tar.Header{Typeflag: tar.TypeReg, Name: "x", Format: tar.FormatPAX, PAXRecords: map[string]string{"ACME.x": "y"}}, "x"}
	gnu := entry{tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("x", 150), Format: tar.FormatGNU}, "x"}
	with := func(more ...entry) []byte {
		return archive(t, withHashes(t, append([]entry{manifest, hello}, more...)...)...)
	}
	arm := file("bin/hello", string(program()))
	arm.content = strings.Replace(arm.content, "\x3e", "\xb7", 1)
	var many []entry
	for i := range MaxFiles {
		many = append(many, file("f"+strings.Repeat("x", i%90)+"/"+strings.Repeat("y", i/90+1), ""))
	}
	key := testKey(1)
	sign := func(domain string) entry {
		plain := withHashes(t, manifest, hello)
		raw := signatureOver(t, key, domain+plain[0].content)
		return file(signatureFile, raw)
	}
	for _, c := range []struct {
		name string
		data []byte
		kind Kind
		says string
	}{
		{"nothing", nil, NotABundle, "fetch it again"},
		{"no gzip", []byte("PK\x03\x04 hello"), NotABundle, ""},
		{"no tar", zipped(t, bytes.Repeat([]byte("hello"), 500)), NotABundle, ""},
		{"cut", smallBundle(t)[:200], NotABundle, ""},
		{"a second member", append(smallBundle(t), smallBundle(t)...), NotABundle, "after its end"},
		{"rubbish behind", append(smallBundle(t), 0), NotABundle, "after its end"},
		{"rubbish in the padding", zipped(t, append(unzipped(t, smallBundle(t)), 'x')), NotABundle, "after the archive's end"},
		{"empty", archive(t), BadHashes, "is missing"},
		{"no hashes", archive(t, manifest, hello), BadHashes, "is missing"},
		{"upwards", with(file("../x", "x")), BadPath, "clean relative"},
		{"upwards inside", with(file("a/../../x", "x")), BadPath, "clean relative"},
		{"absolute", with(file("/etc/cron.d/x", "x")), BadPath, "not relative"},
		{"point", with(file("./x", "x")), BadPath, "clean relative"},
		{"two slashes", with(file("a//x", "x")), BadPath, "clean relative"},
		{"backslash", with(file(`..\x`, "x")), BadPath, "printable ASCII"},
		{"drive", with(file(`c:x`, "x")), BadPath, "printable ASCII"},
		{"control character", with(file("a\nb", "x")), BadPath, "printable ASCII"},
		{"point at the end", with(file("a./b", "x")), BadPath, "ends with a point"},
		{"twice", with(file("x", "1"), file("x", "1")), BadPath, "twice"},
		{"manifest twice", with(manifest), BadPath, "twice"},
		{"twice in other case", with(file("x", "1"), file("X", "1")), BadPath, "case of letters"},
		{"manifest in other case", with(file("Manifest.json", small)), BadPath, "case of letters"},
		{"below a file", with(file("x", "1"), file("x/y", "1")), BadPath, "folder that is a file"},
		{"a file over a folder", with(file("x/y", "1"), file("x", "1")), BadPath, "twice, or differs"},
		{"symbolic link", with(link), BadEntry, "no plain file"},
		{"hard link", with(hard), BadEntry, "no plain file"},
		{"device", with(device), BadEntry, "no plain file"},
		{"pipe", with(fifo), BadEntry, "no plain file"},
		{"folder", with(dir), BadEntry, "no plain file"},
		{"extended header", with(pax), BadEntry, "no plain file"},
		{"long name", with(gnu), BadEntry, "no plain file"},
		{"too many files", with(many...), TooLarge, "more than 2000 files"},
		{"unlisted", archive(t, append(withHashes(t, manifest, hello), file("evil.so", "x"))...), BadHashes, "is not in hashes.json"},
		{"listed only", archive(t, withHashes(t, manifest, hello, file("x", "x"))[:3]...), BadHashes, "not in the bundle"},
		{"changed", archive(t, withHashes(t, manifest, hello)[0], manifest, arm), BadHashes, "another hash"},
		{"listed twice", archive(t, file(hashesFile, `{"manifest.json":"a","manifest.json":"b"}`), manifest), BadHashes, "comes twice"},
		{"hashes of another shape", archive(t, file(hashesFile, `["x"]`), manifest), BadHashes, "is not an object"},
		{"no manifest", archive(t, withHashes(t, hello)...), BadManifest, "is missing"},
		{"a bad manifest", archive(t, withHashes(t, file(manifestFile, `{}`), hello)...), BadManifest, "/version: is missing"},
		{"no program", archive(t, withHashes(t, manifest)...), BadManifest, "guildhall plugin build --platforms linux_amd64"},
		{"no main file", archive(t, withHashes(t, file(manifestFile, python))...), BadManifest, "is the main file"},
		{"another processor", archive(t, withHashes(t, manifest, arm)...), BadBinary, "no program for linux_amd64"},
		{"a script", archive(t, withHashes(t, manifest, file("bin/hello", "#!/bin/sh\n"))...), BadBinary, "no program for linux_amd64"},
		{"a signature of something else", archive(t, append(withHashes(t, manifest, hello), sign("other domain\n"))...), BadSignature, "does not belong"},
		{"an empty signature", archive(t, append(withHashes(t, manifest, hello), file(signatureFile, `{}`))...), BadSignature, "exactly"},
		{"another algorithm", archive(t, append(withHashes(t, manifest, hello), file(signatureFile, `{"algorithm":"none","public_key":"","signature":""}`))...), BadSignature, "algorithm other"},
		{"no key", archive(t, append(withHashes(t, manifest, hello), file(signatureFile, `{"algorithm":"ed25519","public_key":"","signature":""}`))...), BadSignature, "public_key"},
	} {
		b, err := Read(c.data)
		if b != nil || !IsKind(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v; want %s, %q", c.name, b, err, c.kind, c.says)
		}
	}
	good := archive(t, append(withHashes(t, manifest, hello), sign(domain))...)
	if b, err := Read(good); err != nil || !b.Signer.Equal(key.Public()) {
		t.Errorf("the table's own good bundle: %v", err)
	}
}

func TestBombsAreRefused(t *testing.T) {
	t.Parallel()
	// A header that promises much, and nothing behind it.
	promise := file("x", "")
	promise.Size = 200 << 20
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&promise.Header); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(zipped(t, head.Bytes())); !IsKind(err, NotABundle) {
		t.Errorf("an empty promise: %v", err)
	}
	promise.Size = MaxUnpacked + 1
	head.Reset()
	if err := tar.NewWriter(&head).WriteHeader(&promise.Header); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(zipped(t, head.Bytes())); !IsKind(err, TooLarge) {
		t.Errorf("a large promise: %v", err)
	}
	if _, err := Read(make([]byte, MaxPacked+1)); !IsKind(err, TooLarge) {
		t.Errorf("a large file: %v", err)
	}
	// Zeros behind the archive pack well.
	if _, err := Read(zipped(t, append(unzipped(t, smallBundle(t)), make([]byte, MaxUnpacked+MaxFiles*1024)...))); !IsKind(err, TooLarge) {
		t.Errorf("a bomb behind the archive: %v", err)
	}
}

// sameContent reports whether a bundle is either refused or the same as good.
func sameContent(good *Bundle, data []byte) bool {
	b, err := Read(data)
	if err != nil {
		return true
	}
	return b.Signer.Equal(good.Signer) && maps.EqualFunc(b.Files, good.Files, bytes.Equal) && b.Manifest.ID == good.Manifest.ID
}

func TestNoByteCanBeChanged(t *testing.T) {
	t.Parallel()
	data := signed(t, smallBundle(t), testKey(1))
	good, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	change := func(of []byte, i int) []byte {
		changed := slices.Clone(of)
		changed[i] ^= byte(1 + r.IntN(255))
		return changed
	}
	for i := range data {
		for range 3 {
			if !sameContent(good, change(data, i)) {
				t.Fatalf("byte %d changed makes another bundle", i)
			}
		}
	}
	// The same inside of the compression, whose checksum does not hold anybody
	// who writes it anew.
	plain := unzipped(t, data)
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	for i := range plain {
		out.Reset()
		z.Reset(&out)
		if _, err := z.Write(change(plain, i)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		if !sameContent(good, out.Bytes()) {
			t.Fatalf("byte %d of the archive changed makes another bundle", i)
		}
	}
}

func FuzzRead(f *testing.F) {
	data := signed(f, smallBundle(f), testKey(1))
	good, err := Read(data)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, false)
	f.Add(unzipped(f, data), true)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, zip bool) {
		if zip {
			data = zipped(t, data)
		}
		b, err := Read(data)
		if err != nil {
			return
		}
		if b.Signer.Equal(good.Signer) && !maps.EqualFunc(b.Files, good.Files, bytes.Equal) {
			t.Fatal("other files with the signature of these")
		}
		for name := range b.Files {
			if badPath(name) != "" {
				t.Fatalf("the name %q passed", name)
			}
		}
	})
}
