package cache

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// defaultWait is that of the Python client.
	defaultWait = 5 * time.Second
	// defaultTimeout is that of the Python client: a cache that takes longer is of no use to its caller.
	defaultTimeout = time.Second
)

// Failure says what becomes of a call when the sidecar cannot be asked.
type Failure int

const (
	// CallLoad calls the load as if there were no cache.
	CallLoad Failure = iota
	// ReturnError returns the status that the sidecar's call ended with.
	ReturnError
)

// Option is a choice for one call of GetOrLoad or GetOrLoadMany.
type Option[T any] func(*choices[T])

// choices is what the options come to.
type choices[T any] struct {
	codec        Codec[T]
	ttl          *durationpb.Duration
	wait         time.Duration
	timeout      time.Duration
	staleIfError bool
	onFailure    Failure
}

func defaults[T any]() choices[T] {
	return choices[T]{codec: JSON[T]{}, wait: defaultWait, timeout: defaultTimeout}
}

// TTL is the time for which a loaded value is fresh. Without it: the cache's own.
func TTL[T any](ttl time.Duration) Option[T] {
	return func(chosen *choices[T]) { chosen.ttl = durationpb.New(ttl) }
}

// Wait is how long to wait at most for another caller's load. Without it: 5 seconds.
func Wait[T any](wait time.Duration) Option[T] {
	return func(chosen *choices[T]) { chosen.wait = wait }
}

// Timeout bounds each call to the sidecar, none of which is repeated; of the waiting it bounds only each part. Without
// it: a second.
func Timeout[T any](timeout time.Duration) Option[T] {
	return func(chosen *choices[T]) { chosen.timeout = timeout }
}

// StaleIfError has a stale entry, if there is one, stand in for a load that fails, also for one whose context is over.
func StaleIfError[T any]() Option[T] {
	return func(chosen *choices[T]) { chosen.staleIfError = true }
}

// OnFailure says what becomes of the call when the sidecar cannot be asked. Without it: CallLoad.
func OnFailure[T any](failure Failure) Option[T] {
	return func(chosen *choices[T]) { chosen.onFailure = failure }
}

// With writes and reads values by another codec than JSON.
func With[T any](codec Codec[T]) Option[T] {
	return func(chosen *choices[T]) { chosen.codec = codec }
}

// passesOver says whether the load is called in the cache's place: not for what is a mistake.
func (c *choices[T]) passesOver(err error) bool {
	if c.onFailure == ReturnError {
		return false
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.Unimplemented:
		return false
	default:
		return true
	}
}
