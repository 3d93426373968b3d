package envelope

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

type hexBytes []byte

func (b *hexBytes) UnmarshalJSON(text []byte) error {
	var digits string
	if err := json.Unmarshal(text, &digits); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(digits)
	*b = decoded
	return err
}

type dataKeyVector struct {
	Note, Tenant, Cache, Label string
	ID, Secret, Record         hexBytes
}

type envelopeVector struct {
	Note, Tenant, Cache, Name, Field string
	SchemaVersion                    uint32 `json:"schema_version"`
	Epoch                            uint64
	KeyID                            hexBytes `json:"key_id"`
	EncryptionKey                    hexBytes `json:"encryption_key"`
	AssociatedData                   hexBytes `json:"associated_data"`
	Salt, Commitment, Value, Sealed  hexBytes
}

func (v envelopeVector) place() Place {
	return Place{Tenant: v.Tenant, Cache: v.Cache, Name: v.Name, Field: v.Field, SchemaVersion: v.SchemaVersion}
}

type vectorFile struct {
	KEK              hexBytes
	KEKID            hexBytes        `json:"kek_id"`
	DataKeys         []dataKeyVector `json:"data_keys"`
	RejectedDataKeys []dataKeyVector `json:"rejected_data_keys"`
	Names            []struct{ Key, Name string }
	Envelopes        []envelopeVector
	Rejected         []envelopeVector
}

func load(t *testing.T) (vectorFile, map[string]DataKey) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "vectors", "envelope_v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file vectorFile
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	keys := map[string]DataKey{}
	for _, vector := range file.DataKeys {
		key, err := Unwrap(file.KEK, vector.Record, vector.Tenant, vector.Cache, vector.Label)
		if err != nil {
			t.Fatalf("the data key of %s %s does not unwrap", vector.Cache, vector.Label)
		}
		if !bytes.Equal(key.ID[:], vector.ID) || !bytes.Equal(key.Secret[:], vector.Secret) {
			t.Fatalf("the data key of %s %s unwraps to something else", vector.Cache, vector.Label)
		}
		keys[string(vector.ID)] = key
		if vector.Label == "names" {
			keys["names"] = key
		}
	}
	if len(file.Envelopes) == 0 || len(file.Rejected) == 0 || len(file.RejectedDataKeys) == 0 || len(file.Names) == 0 {
		t.Fatal("a list of vectors is empty")
	}
	return file, keys
}

func TestKEKID(t *testing.T) {
	file, _ := load(t)
	if !bytes.Equal(KEKID(file.KEK), file.KEKID) {
		t.Error("the id of the key-encryption key differs")
	}
}

func TestEnvelopesOpen(t *testing.T) {
	file, keys := load(t)
	for _, vector := range file.Envelopes {
		key := keys[string(vector.KeyID)]
		encryptionKey, commitment := Derive(key.Secret[:], vector.Salt)
		if !bytes.Equal(encryptionKey, vector.EncryptionKey) || !bytes.Equal(commitment, vector.Commitment) {
			t.Errorf("%s: other keys are derived", vector.Note)
		}
		if !bytes.Equal(AssociatedData(vector.Sealed[:headerBytes], vector.place()), vector.AssociatedData) {
			t.Errorf("%s: other associated data", vector.Note)
		}
		value, err := Open(key, vector.Epoch, vector.Sealed, vector.place())
		if err != nil || !bytes.Equal(value, vector.Value) {
			t.Errorf("%s: does not open", vector.Note)
		}
	}
}

func TestTamperedEnvelopesAreRejected(t *testing.T) {
	file, keys := load(t)
	for _, vector := range file.Rejected {
		if vector.Sealed == nil || keys[string(vector.KeyID)] == (DataKey{}) {
			t.Fatalf("%s: proves nothing", vector.Note)
		}
		if value, err := Open(keys[string(vector.KeyID)], vector.Epoch, vector.Sealed, vector.place()); err == nil {
			t.Errorf("%s: opens, %d bytes", vector.Note, len(value))
		}
	}
}

func TestEveryFlippedByteIsRejected(t *testing.T) {
	file, keys := load(t)
	for _, vector := range file.Envelopes {
		for at := range vector.Sealed {
			altered := bytes.Clone(vector.Sealed)
			altered[at] ^= 0x80
			if _, err := Open(keys[string(vector.KeyID)], vector.Epoch, altered, vector.place()); err == nil {
				t.Errorf("%s: opens with byte %d altered", vector.Note, at)
			}
		}
	}
}

func TestTamperedDataKeysAreRejected(t *testing.T) {
	file, _ := load(t)
	for _, vector := range file.RejectedDataKeys {
		if vector.Record == nil {
			t.Fatalf("%s: proves nothing", vector.Note)
		}
		if _, err := Unwrap(file.KEK, vector.Record, vector.Tenant, vector.Cache, vector.Label); err == nil {
			t.Errorf("%s: unwraps", vector.Note)
		}
	}
}

func TestEntryNames(t *testing.T) {
	file, keys := load(t)
	for _, vector := range file.Names {
		if name := EntryName(keys["names"], vector.Key); name != vector.Name {
			t.Errorf("the name is %s, expected %s", name, vector.Name)
		}
	}
}
