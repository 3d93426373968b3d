// Package envelope reads what the sidecar seals. It is written from docs/security/envelope.md alone, with nothing but
// Go's standard library, to prove that the document says enough.
package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math"
)

const (
	headerBytes       = 88
	recordHeaderBytes = 40
	recordBytes       = 88
	keyBytes          = 32
	tagBytes          = 16
)

// ErrRejected is the only answer to anything that does not authenticate.
var ErrRejected = errors.New("rejected")

// DataKey is a data key in the clear.
type DataKey struct {
	ID     [16]byte
	Secret [keyBytes]byte
}

// Place is where a value belongs.
type Place struct {
	Tenant, Cache, Name, Field string
	SchemaVersion              uint32
}

// KEKID returns the id of a key-encryption key.
func KEKID(kek []byte) []byte {
	return mac(kek, []byte("sidecar/kek/v1 id\x01"))[:8]
}

// Unwrap returns the data key in a record.
func Unwrap(kek []byte, record []byte, tenant, cache, label string) (DataKey, error) {
	var key DataKey
	if len(record) != recordBytes || !bytes.Equal(record[:4], []byte("SK\x01\x01")) {
		return key, ErrRejected
	}
	if !bytes.Equal(record[4:12], KEKID(kek)) {
		return key, ErrRejected
	}
	header := record[:recordHeaderBytes]
	associated := frame(header, []byte(tenant), []byte(cache), []byte(label))
	secret, err := openGCM(
		mac(kek, []byte("sidecar/kek/v1 wrapping key\x01")), header[28:40], record[recordHeaderBytes:], associated)
	if err != nil {
		return key, ErrRejected
	}
	copy(key.ID[:], header[12:28])
	copy(key.Secret[:], secret)
	return key, nil
}

// Open returns the value in an envelope that was sealed with key, in this epoch, for this place.
func Open(key DataKey, epoch uint64, sealed []byte, place Place) ([]byte, error) {
	if len(sealed) < headerBytes+tagBytes || !bytes.Equal(sealed[:4], []byte("SE\x01\x01")) {
		return nil, ErrRejected
	}
	header := sealed[:headerBytes]
	if binary.BigEndian.Uint64(header[4:12]) != epoch || !bytes.Equal(header[12:28], key.ID[:]) {
		return nil, ErrRejected
	}
	encryptionKey, commitment := Derive(key.Secret[:], header[28:44])
	if !hmac.Equal(header[56:88], commitment) {
		return nil, ErrRejected
	}
	value, err := openGCM(encryptionKey, header[44:56], sealed[headerBytes:], AssociatedData(header, place))
	if err != nil {
		return nil, ErrRejected
	}
	return value, nil
}

// Derive returns the AES key of a write and the commitment to it: HKDF-SHA-256, written out.
func Derive(secret, salt []byte) (encryptionKey, commitment []byte) {
	info := []byte("sidecar/envelope/v1 message key")
	extracted := mac(salt, secret)
	encryptionKey = mac(extracted, append(append([]byte{}, info...), 1))
	commitment = mac(extracted, append(append(append([]byte{}, encryptionKey...), info...), 2))
	return encryptionKey, commitment
}

// AssociatedData returns what is authenticated beside the value.
func AssociatedData(header []byte, place Place) []byte {
	schema := binary.BigEndian.AppendUint32(nil, place.SchemaVersion)
	return frame(
		header, []byte(place.Tenant), []byte(place.Cache), []byte(place.Name), []byte(place.Field), schema)
}

// EntryName returns the name under which the entry of a caller's key is stored.
func EntryName(nameKey DataKey, key string) string {
	return base64.RawURLEncoding.EncodeToString(mac(nameKey.Secret[:], []byte(key))[:24])
}

func frame(parts ...[]byte) []byte {
	var framed []byte
	for _, part := range parts {
		if uint64(len(part)) > math.MaxUint32 {
			panic("a part is longer than its length can say")
		}
		framed = binary.BigEndian.AppendUint32(framed, uint32(len(part)))
		framed = append(framed, part...)
	}
	return framed
}

func mac(key, message []byte) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write(message)
	return hash.Sum(nil)
}

func openGCM(key, nonce, sealed, associated []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nonce, sealed, associated)
}
