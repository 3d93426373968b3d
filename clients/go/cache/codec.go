package cache

import "encoding/json"

// Codec turns values into the bytes of an entry and back. It must be safe for concurrent use.
type Codec[T any] interface {
	// Encode returns the value as it is stored; an error ends the load as failed and is returned to its caller.
	Encode(value T) ([]byte, error)
	// Decode returns what was stored; an error means that it is no such value, and it is loaded anew.
	Decode(octets []byte) (T, error)
}

// JSON is the codec that is used if there is no other. The Python client's cached functions write JSON too.
type JSON[T any] struct{}

// Encode returns the value as JSON.
func (JSON[T]) Encode(value T) ([]byte, error) {
	return json.Marshal(value)
}

// Decode returns the value that JSON describes.
func (JSON[T]) Decode(octets []byte) (T, error) {
	var value T
	err := json.Unmarshal(octets, &value)
	return value, err
}
