package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" // the padding's, fixed by the protocol
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"os"
	"slices"
	"time"
)

// store is a key store of one RSA key: the driver's own for certificates takes a PFX file whose
// password it gets by other ways.
type store struct {
	key   *rsa.PrivateKey
	paths []string // what the server may call it
}

func openStore(path string, paths ...string) (*store, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM in " + path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("no RSA key in " + path)
	}
	return &store{private, paths}, nil
}

func (s *store) DecryptColumnEncryptionKey(_ context.Context, path string, _ string, envelope []byte) ([]byte, error) {
	if !slices.Contains(s.paths, path) {
		return nil, errors.New("there is no key of the path " + path)
	}
	if len(envelope) < 5 || envelope[0] != 1 {
		return nil, errors.New("the envelope has another version")
	}
	wrapped := 5 + int(binary.LittleEndian.Uint16(envelope[1:]))
	signed := wrapped + int(binary.LittleEndian.Uint16(envelope[3:]))
	if signed >= len(envelope) {
		return nil, errors.New("the envelope is cut off")
	}
	digest := sha256.Sum256(envelope[:signed])
	if err := rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, digest[:], envelope[signed:]); err != nil {
		return nil, err
	}
	return rsa.DecryptOAEP(sha1.New(), nil, s.key, envelope[wrapped:signed], nil)
}

func (s *store) EncryptColumnEncryptionKey(context.Context, string, string, []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func (s *store) SignColumnMasterKeyMetadata(context.Context, string, bool) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

func (s *store) VerifyColumnMasterKeyMetadata(context.Context, string, bool) (*bool, error) {
	return nil, errors.ErrUnsupported
}

func (s *store) KeyLifetime() *time.Duration { return nil }
