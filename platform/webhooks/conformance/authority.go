package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// Authority signs the certificates of the receivers.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority returns an authority for the sender to trust.
func NewAuthority() *Authority { return newAuthority("Conformance Authority") }

func newAuthority(name string) *Authority {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().AddDate(0, -1, 0), NotAfter: time.Now().AddDate(0, 1, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	made, err := x509.ParseCertificate(signed(template, template, key, key))
	if err != nil {
		panic("conformance: " + err.Error())
	}
	return &Authority{made, key}
}

// Pool is the authority as a client trusts it.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// PEM is the authority in a file, for SSL_CERT_FILE.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// certificate is what a receiver shows.
type certificate struct {
	ips, names  []string
	from, until time.Time
	client      bool // for clients, not for servers
}

func (c certificate) template() *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "Receiver"},
		NotBefore: c.from, NotAfter: c.until, DNSNames: c.names,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if c.client {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	for _, ip := range c.ips {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(ip))
	}
	return t
}

// config is a receiver with a certificate of this authority.
func (a *Authority) config(c certificate) *tls.Config {
	key := newKey()
	return serving(signed(c.template(), a.certificate, key, a.key), key)
}

// selfSigned is a receiver with a certificate of its own making.
func (a *Authority) selfSigned(c certificate) *tls.Config {
	key := newKey()
	return serving(signed(c.template(), c.template(), key, key), key)
}

func serving(raw []byte, key *ecdsa.PrivateKey) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("conformance: " + err.Error()) // no randomness
	}
	return key
}

func signed(template, parent *x509.Certificate, of, by *ecdsa.PrivateKey) []byte {
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &of.PublicKey, by)
	if err != nil {
		panic("conformance: " + err.Error()) // a template of ours is wrong
	}
	return raw
}
