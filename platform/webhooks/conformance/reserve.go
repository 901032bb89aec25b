package conformance

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// reserve takes a port on which nothing listens: connections are refused, and
// nobody else gets it meanwhile.
func (r *receiver) reserve() (string, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return "", fmt.Errorf("conformance: socket: %w", err)
	}
	syscall.CloseOnExec(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return "", fmt.Errorf("conformance: bind: %w", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return "", fmt.Errorf("conformance: getsockname: %w", err)
	}
	r.reserved = os.NewFile(uintptr(fd), "reserved")
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port), nil
}

// listen opens the reserved port.
func (r *receiver) listen() error {
	defer r.reserved.Close()
	if err := syscall.Listen(int(r.reserved.Fd()), 16); err != nil {
		return fmt.Errorf("conformance: listen: %w", err)
	}
	l, err := net.FileListener(r.reserved)
	if err != nil {
		return fmt.Errorf("conformance: listen: %w", err)
	}
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	r.serve()
	return nil
}
