package outboundtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const inside = "GUILDHALL_TEST_IN_NAMESPACE"

// Alone runs f in a process and a network of its own, in which every address
// there is leads back to it: what is sent anywhere arrives, and can be counted.
// It runs the calling test once more there and shows what that printed. It
// returns false where the system lets nobody have such a network; f did not run then.
func Alone(t *testing.T, f func()) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		if err := everythingIsHere(); err != nil {
			t.Fatal(err)
		}
		f()
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), self, "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v")
	run.Env = append(os.Environ(), inside+"=1")
	run.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := run.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Logf("no network of its own here: %v", err)
		return false
	}
	if err != nil {
		t.Errorf("in a network of its own: %v\n%s", err, out)
		return true
	}
	for line := range strings.Lines(string(out)) {
		if _, figures, found := strings.Cut(line, "PROVED "); found {
			t.Logf("PROVED %s", strings.TrimSpace(figures))
		}
	}
	return true
}

// everythingIsHere brings up the only device of this network and makes every
// address one of its own.
func everythingIsHere() error {
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("outboundtest: socket: %w", err)
	}
	defer unix.Close(control)
	device, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("outboundtest: lo: %w", err)
	}
	device.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(control, unix.SIOCSIFFLAGS, device); err != nil {
		return fmt.Errorf("outboundtest: bring up lo: %w", err)
	}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := routeHere(family); err != nil {
			return err
		}
	}
	return nil
}

// routeHere adds "local default dev lo" to the table of local addresses.
func routeHere(family byte) error {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("outboundtest: netlink: %w", err)
	}
	defer unix.Close(s)
	const lo = 1
	le := binary.NativeEndian
	message := make([]byte, unix.SizeofNlMsghdr)
	message = append(message, family, 0, 0, 0, unix.RT_TABLE_LOCAL, unix.RTPROT_BOOT, unix.RT_SCOPE_HOST, unix.RTN_LOCAL, 0, 0, 0, 0)
	message = le.AppendUint16(message, 8) // length of the attribute
	message = le.AppendUint16(message, unix.RTA_OIF)
	message = le.AppendUint32(message, lo)
	le.PutUint32(message[0:], uint32(len(message)))
	le.PutUint16(message[4:], unix.RTM_NEWROUTE)
	le.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	if err := unix.Sendto(s, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("outboundtest: add a route: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return fmt.Errorf("outboundtest: add a route: %d bytes, %w", n, err)
	}
	if code := int32(le.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return fmt.Errorf("outboundtest: add a route: %w", syscall.Errno(-code))
	}
	return nil
}

// Opened is how many connections by TCP this network has tried to open since it
// exists, wherever to and whether or not they came about.
func Opened() (int, error) {
	raw, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		return 0, fmt.Errorf("outboundtest: %w", err)
	}
	var names []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "ActiveOpens" {
				return strconv.Atoi(fields[i])
			}
		}
	}
	return 0, errors.New("outboundtest: the system does not count connections")
}
