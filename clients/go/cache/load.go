// Package cache keeps what a function loads in one of the sidecar's caches:
//
//	caches := sidecarv1.NewCacheServiceClient(connection)
//	balance, err := cache.GetOrLoad(ctx, caches, "balances", "account:7",
//		func(ctx context.Context) (Balance, error) { return balanceFromDatabase(ctx, 7) },
//		cache.TTL[Balance](30*time.Second))
//	if errors.Is(err, cache.ErrNotFound) { ... }
//
// Of all who ask for an entry that is not there, in whatever program beside whatever sidecar, one is given the lease to
// load it; the others wait for that. What may go wrong is sorted by whose it is:
//
//   - What the load returns as an error is its caller's, and another caller may try. ErrNotFound is no failure: it is
//     remembered, for the cache's negative_ttl.
//   - A mistake, such as a cache that is not configured or a value that is too large, is returned. If it were passed
//     over, nobody would notice that nothing is cached.
//   - That the sidecar cannot be asked is the cache's trouble and not the caller's: the load is called as if there were
//     no cache, unless OnFailure says otherwise.
//   - That another's load takes longer than Wait is ErrPending: were the load called then, a slow origin would get all
//     the calls at once.
//
// An entry that cannot be decoded was written by another version of the program. It is deleted as of its version, and
// asked for again, so that one of all loads it anew; if there is such an entry once more, the load is called without the
// cache.
package cache

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"sidecar.internal/clients/go/sidecarv1"
)

// ErrNotFound says that the origin has no such thing. A load returns it, itself or wrapped, and so does GetOrLoad.
var ErrNotFound = errors.New("cache: not found")

// ErrPending says that another caller loads the entry, and has not done so in the time that there was to wait.
var ErrPending = errors.New("cache: another caller's load is not done in time")

// endTimeout bounds the call that ends a load whose caller has gone: its own context is over.
const endTimeout = time.Second

// attempts is how often an entry is asked for: again after one that cannot be decoded.
const attempts = 2

// GetOrLoad returns the entry under key of the named cache, or what load returns if it falls to this call to load it.
func GetOrLoad[T any](
	ctx context.Context, client sidecarv1.CacheServiceClient, cache, key string,
	load func(context.Context) (T, error), options ...Option[T],
) (T, error) {
	chosen := defaults[T]()
	for _, option := range options {
		option(&chosen)
	}
	asked := &loading[T]{
		entries: entries[T]{client: client, cache: cache, options: chosen}, key: key, load: load,
	}
	for range attempts {
		value, outcome, err := asked.once(ctx)
		switch outcome {
		case settled:
			return value, err
		case unreachable:
			if ctx.Err() != nil { // not the cache failed: its caller has gone
				return value, ctx.Err()
			}
			if !chosen.passesOver(err) {
				return value, err
			}
			return load(ctx)
		case undecodable: // once more
		}
	}
	return load(ctx)
}

// outcome says what became of one attempt.
type outcome int

const (
	settled     outcome = iota // the value or the error is the answer
	unreachable                // the sidecar answered with an error
	undecodable                // the entry could not be decoded, and has been deleted
)

// entries are those of one cache, and how they are asked for.
type entries[T any] struct {
	client  sidecarv1.CacheServiceClient
	cache   string
	options choices[T]
}

// loading is one entry that may have to be loaded.
type loading[T any] struct {
	entries[T]
	key  string
	load func(context.Context) (T, error)
}

// once asks for the entry until it is there, is this call's to load, or the time to wait is over.
func (l *loading[T]) once(ctx context.Context) (T, outcome, error) {
	var none T
	endsAt := time.Now().Add(l.options.wait)
	for {
		answer, err := l.ask(ctx, time.Until(endsAt))
		if err != nil {
			return none, unreachable, err
		}
		switch answer.GetOutcome() {
		case sidecarv1.LoadOutcome_LOAD_OUTCOME_HIT, sidecarv1.LoadOutcome_LOAD_OUTCOME_STALE:
			value, err := l.options.codec.Decode(answer.GetEntry().GetValue())
			if err == nil {
				return value, settled, nil
			}
			if err := l.drop(ctx, l.key, answer.GetEntry().GetVersion()); err != nil {
				return none, unreachable, err
			}
			return none, undecodable, nil
		case sidecarv1.LoadOutcome_LOAD_OUTCOME_ABSENT:
			return none, settled, ErrNotFound
		case sidecarv1.LoadOutcome_LOAD_OUTCOME_LEASE:
			value, err := l.fill(ctx, answer)
			return value, settled, err
		}
		if ctx.Err() != nil {
			return none, settled, ctx.Err()
		}
		if !time.Now().Before(endsAt) {
			return none, settled, stillLoading(answer)
		}
	}
}

// ask makes one call, which may have a shorter deadline than the caller has patience.
func (l *loading[T]) ask(ctx context.Context, wait time.Duration) (*sidecarv1.GetOrLoadResponse, error) {
	asking, cancel := context.WithTimeout(ctx, l.options.timeout)
	defer cancel()
	return l.client.GetOrLoad(asking, &sidecarv1.GetOrLoadRequest{
		Cache: l.cache, Key: l.key, Wait: durationpb.New(max(0, wait)),
	})
}

// drop deletes an entry unless it has been written since.
func (e *entries[T]) drop(ctx context.Context, key string, version uint64) error {
	asking, cancel := context.WithTimeout(ctx, e.options.timeout)
	defer cancel()
	_, err := e.client.Delete(asking, &sidecarv1.DeleteRequest{
		Cache: e.cache, Key: key,
		Condition: &sidecarv1.Condition{Kind: &sidecarv1.Condition_IfVersion{IfVersion: version}},
	})
	return err
}

// fill loads the entry and tells the sidecar what that brought.
func (l *loading[T]) fill(ctx context.Context, lease *sidecarv1.GetOrLoadResponse) (T, error) {
	request := &sidecarv1.FillRequest{Cache: l.cache, Key: l.key, Token: lease.GetToken()}
	told := false
	defer func() {
		if !told { // the load has panicked, or ended its goroutine
			request.Result = &sidecarv1.FillRequest_Failed{Failed: true}
			_ = l.tell(ctx, request)
		}
	}()
	value, err := l.load(ctx)
	var octets []byte
	if err == nil {
		octets, err = l.options.codec.Encode(value)
	}
	told = true
	switch {
	case errors.Is(err, ErrNotFound):
		request.Result = &sidecarv1.FillRequest_Absent{Absent: true}
		_ = l.tell(ctx, request) // if this does not get through, the lease ends by itself
		return value, err
	case err != nil:
		request.Result = &sidecarv1.FillRequest_Failed{Failed: true}
		_ = l.tell(ctx, request)
		if l.options.staleIfError && lease.GetEntry() != nil {
			if old, undecoded := l.options.codec.Decode(lease.GetEntry().GetValue()); undecoded == nil {
				return old, nil
			}
		}
		return value, err
	}
	request.Result = &sidecarv1.FillRequest_Value{Value: octets}
	request.Ttl = l.options.ttl
	if err := l.tell(ctx, request); status.Code(err) == codes.InvalidArgument {
		return value, err // too large, or its TTL too long: to be mended, not to be loaded each time
	}
	return value, nil // what the origin said a moment ago, whether or not the cache could take it
}

// tell ends a load, also for a caller who has gone: others wait for it.
func (e *entries[T]) tell(ctx context.Context, request *sidecarv1.FillRequest) error {
	telling, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(e.options.timeout, endTimeout))
	defer cancel()
	_, err := e.client.Fill(telling, request)
	return err
}
