package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	netmail "net/mail"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/guildhall-dev/guildhall/internal/seal"
)

const (
	diskNeeded = 200 << 20 // bytes without which Postgres is about to stop
	diskWanted = 2 << 30
)

func (d *doctor) folder() {
	const check = "data folder"
	dir, there, err := nearest(d.cfg.DataDir)
	if err != nil {
		d.fail(check, "name another folder in GUILDHALL_DATA_DIR", "%v", err)
		return
	}
	// A file tells more than mode bits: the file system may be read-only.
	f, err := os.CreateTemp(dir, ".guildhall-doctor-*")
	if err != nil {
		d.fail(check, "give it to the user that runs guildhall (chown, chmod u+rwx), or name another folder in GUILDHALL_DATA_DIR",
			"%s cannot be written: %v", dir, err)
		return
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		d.fail(check, "look at the disk", "%v", err)
		return
	}
	state := d.cfg.DataDir + " is writable"
	if !there {
		state = d.cfg.DataDir + " is made at the first start"
	}
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		d.warn(check, "look at the disk", "%s, its free space is unknown: %v", state, err)
		return
	}
	free := disk.Bavail * uint64(disk.Bsize)
	const fix = "free some space, or move the folder to a larger disk and set GUILDHALL_DATA_DIR"
	switch state += fmt.Sprintf(", %.1f GiB free", float64(free)/(1<<30)); {
	case free < diskNeeded:
		d.fail(check, fix, "%s", state)
	case free < diskWanted:
		d.warn(check, fix, "%s", state)
	default:
		d.ok(check, "%s", state)
	}
}

// nearest is the folder, or the closest one above it that exists.
func nearest(dir string) (existing string, itself bool, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", false, err
	}
	for itself = true; ; itself = false {
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			return dir, itself, nil
		case err == nil:
			return "", false, fmt.Errorf("%s is no folder", dir)
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			return "", false, err
		}
		dir = filepath.Dir(dir)
	}
}

func (d *doctor) key() {
	const check = "instance key"
	path := filepath.Join(d.cfg.DataDir, "keys", "instance.key")
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && d.signs:
		d.fail(check, "copy the file from the backup, or from another replica of this instance; a new one cannot open what is sealed",
			"%s is missing, and the database was used with it", path)
	case errors.Is(err, fs.ErrNotExist):
		d.ok(check, "is made at the first start, in %s", path)
	case err != nil:
		d.fail(check, "let the user that runs guildhall read it", "%v", err)
	default:
		if _, err := seal.Open(d.cfg.DataDir); err != nil {
			d.fail(check, "chmod 600 "+path+" where its mode is wrong, else restore it from the backup", "%v", err)
			return
		}
		d.ok(check, "%s is whole, mode %04o; keep a copy apart from the database", path, info.Mode().Perm())
	}
}

func (d *doctor) mail(ctx context.Context) {
	const check = "mail"
	if d.cfg.SMTPURL == "" {
		folder := mailFolder(d.cfg)
		dir, _, err := nearest(folder)
		if err == nil {
			err = syscall.Access(dir, 2)
		}
		if err != nil {
			d.fail(check, "let the user that runs guildhall write there, or set GUILDHALL_SMTP_URL", "%s cannot be written: %v", folder, err)
			return
		}
		d.ok(check, "goes to files in %s until GUILDHALL_SMTP_URL is set", folder)
		return
	}
	host, err := d.greet(ctx)
	if err != nil {
		d.fail(check, "look at GUILDHALL_SMTP_URL (host, port, smtp or smtps, tls) and at the firewall", "%s: %v", host, err)
		return
	}
	from, err := netmail.ParseAddress(d.cfg.MailFrom)
	if err != nil || strings.HasSuffix(from.Address, "@localhost") {
		d.warn(check, "set GUILDHALL_MAIL_FROM to an address that the server may send as", "%s answers, but mail would come from %s", host, d.cfg.MailFrom)
		return
	}
	d.ok(check, "%s answers, mail comes from %s", host, from.Address)
}

// greet says hello to the mail server and sees whether it offers the
// encryption that the setting asks for.
func (d *doctor) greet(ctx context.Context) (host string, err error) {
	u, err := url.Parse(d.cfg.SMTPURL)
	if err != nil {
		return "the mail server", errors.New("the URL is not valid") // which may hold a password
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"smtp": "587", "smtps": "465"}[u.Scheme]
	}
	host = net.JoinHostPort(u.Hostname(), port)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var dialer interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	if u.Scheme == "smtps" {
		dialer = &tls.Dialer{Config: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}
	}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return host, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return host, err
		}
	}
	c, err := smtp.NewClient(conn, u.Hostname())
	if err != nil {
		return host, err
	}
	defer c.Close()
	if err := c.Hello("localhost"); err != nil {
		return host, err
	}
	mandatory := u.Query().Get("tls") == "mandatory" || u.Query().Get("tls") == "" && u.User != nil
	if offered, _ := c.Extension("STARTTLS"); u.Scheme == "smtp" && mandatory && !offered {
		return host, errors.New("the server offers no STARTTLS, without which no password is sent")
	}
	return host, c.Quit()
}

func (d *doctor) address(ctx context.Context) {
	const check = "address"
	ln, err := net.Listen("tcp", d.cfg.Addr)
	if err == nil {
		ln.Close()
		d.ok(check, "%s is free", d.cfg.Addr)
		return
	}
	var who struct {
		Status  string `json:"status"`
		Version string `json:"version"`
	}
	if _, asked := ask(ctx, d.cfg.Addr, "/healthz", &who); asked == nil && who.Status == "ok" && who.Version != "" {
		d.ok(check, "%s is served by guildhall %s", d.cfg.Addr, who.Version)
		return
	}
	d.fail(check, "end the other program, or set GUILDHALL_ADDR to another address of this machine", "%v", err)
}

// ask gets a page of the server at a listening address.
func ask(ctx context.Context, addr, path string, into any) (status int, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return 0, err
	}
	transport := &http.Transport{DisableKeepAlives: true} // without a proxy: the server is this machine's own
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(into)
}

func (d *doctor) publicURL() {
	const check = "public URL"
	if d.cfg.PublicURL == "" {
		d.ok(check, "follows from the port, which is chosen at start")
		return
	}
	u, err := url.Parse(d.cfg.PublicURL)
	if err != nil {
		d.fail(check, "set GUILDHALL_PUBLIC_URL, for example to https://guildhall.example.com", "%v", err)
		return
	}
	here := loopback(u.Hostname())
	host, _, _ := net.SplitHostPort(d.cfg.Addr) // checked when it was loaded
	switch {
	case here && !loopback(host):
		d.warn(check, "set GUILDHALL_PUBLIC_URL to what people type", "is %s, though %s can be reached from elsewhere: links in mail would lead nowhere", d.cfg.PublicURL, d.cfg.Addr)
	case !here && u.Scheme == "http":
		d.warn(check, "put a proxy with a certificate before it, and write https", "is %s: passwords and tokens would travel in clear", d.cfg.PublicURL)
	default:
		d.ok(check, "is %s", d.cfg.PublicURL)
	}
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
