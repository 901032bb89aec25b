package bundle

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// programOf reports whether content is a program for the platform
// ("linux_amd64"), by its first bytes: the kind of file and the processor.
func programOf(platform string, content []byte) bool {
	goos, arch, _ := strings.Cut(platform, "_")
	switch goos {
	case "darwin":
		return isMachO(content, arch)
	case "windows":
		return isPE(content, arch)
	}
	return isELF(content, arch)
}

func isELF(b []byte, arch string) bool {
	machine := map[string]uint16{"amd64": 62, "arm64": 183}[arch]
	const class64, littleEndian = 2, 1
	return len(b) >= 64 && bytes.HasPrefix(b, []byte("\x7fELF")) && b[4] == class64 && b[5] == littleEndian &&
		binary.LittleEndian.Uint16(b[18:]) == machine
}

func isMachO(b []byte, arch string) bool {
	cpu := map[string]uint32{"amd64": 0x01000007, "arm64": 0x0100000c}[arch]
	const magic64 = 0xfeedfacf
	return len(b) >= 32 && binary.LittleEndian.Uint32(b) == magic64 && binary.LittleEndian.Uint32(b[4:]) == cpu
}

func isPE(b []byte, arch string) bool {
	machine := map[string]uint16{"amd64": 0x8664, "arm64": 0xaa64}[arch]
	if len(b) < 64 || !bytes.HasPrefix(b, []byte("MZ")) {
		return false
	}
	at := uint64(binary.LittleEndian.Uint32(b[60:]))
	return at+6 <= uint64(len(b)) && bytes.HasPrefix(b[at:], []byte("PE\x00\x00")) && binary.LittleEndian.Uint16(b[at+4:]) == machine
}
