package cache

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"sidecar.internal/clients/go/sidecarv1"
)

// errorDomain is that of the sidecar's own errors.
const errorDomain = "sidecar.v1"

// KeyErrors is what GetOrLoadMany returns when some of the entries could not be read or loaded; the others are returned
// beside it. errors.Is and errors.As look at each.
type KeyErrors map[string]error

// Error names the keys in order, each with its error.
func (e KeyErrors) Error() string {
	parts := make([]string, 0, len(e))
	for _, key := range e.keys() {
		parts = append(parts, fmt.Sprintf("%q: %v", key, e[key]))
	}
	return "cache: " + strings.Join(parts, "; ")
}

// Unwrap returns the errors in the order of their keys.
func (e KeyErrors) Unwrap() []error {
	errs := make([]error, 0, len(e))
	for _, key := range e.keys() {
		errs = append(errs, e[key])
	}
	return errs
}

func (e KeyErrors) keys() []string {
	keys := make([]string, 0, len(e))
	for key := range e {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// GetOrLoadMany returns the entries under keys of the named cache, as GetOrLoad does each; what falls to this call to load
// is loaded together. A key that is not in the map it returns the origin does not have: load leaves out such keys too, and
// returns no ErrNotFound. Entries that others load are asked for again once this call's own are filled in.
//
// What load returns as an error is returned, beside what was there without it, and others may load. Other errors are of
// single keys: KeyErrors, with ErrPending for what others have not loaded in time.
func GetOrLoadMany[T any](
	ctx context.Context, client sidecarv1.CacheServiceClient, cache string, keys []string,
	load func(context.Context, []string) (map[string]T, error), options ...Option[T],
) (map[string]T, error) {
	chosen := defaults[T]()
	for _, option := range options {
		option(&chosen)
	}
	asked := &loadingMany[T]{
		entries: entries[T]{client: client, cache: cache, options: chosen},
		load:    load,
		values:  make(map[string]T, len(keys)),
		errors:  KeyErrors{},
		dropped: map[string]bool{},
	}
	err := asked.all(ctx, distinct(keys))
	if err == nil && len(asked.errors) > 0 {
		err = asked.errors
	}
	return asked.values, err
}

// loadingMany is several entries of which some may have to be loaded.
type loadingMany[T any] struct {
	entries[T]
	load    func(context.Context, []string) (map[string]T, error)
	values  map[string]T
	errors  KeyErrors
	dropped map[string]bool // those that could not be decoded once
}

// leased is an entry that is this call's to load.
type leased struct {
	key    string
	answer *sidecarv1.GetOrLoadResponse
}

// all asks for entries until each is there, has failed, or the time to wait is over; what the cache is of no use for is
// loaded without it at the end.
func (l *loadingMany[T]) all(ctx context.Context, pending []string) error {
	endsAt := time.Now().Add(l.options.wait)
	var beside []string
	for len(pending) > 0 {
		answer, err := l.ask(ctx, pending, time.Until(endsAt))
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !l.options.passesOver(err) {
				return err
			}
			beside = append(beside, pending...)
			break
		}
		var leases []leased
		var again []string
		for _, result := range answer.GetResults() {
			switch l.take(ctx, result, endsAt) {
			case takenLease:
				leases = append(leases, leased{result.GetKey(), result.GetLoaded()})
			case takenAgain:
				again = append(again, result.GetKey())
			case takenBeside:
				beside = append(beside, result.GetKey())
			case takenWhole:
			}
		}
		if len(leases) > 0 {
			if err := l.fill(ctx, leases); err != nil {
				return err
			}
		}
		if ctx.Err() != nil && len(again) > 0 {
			return ctx.Err()
		}
		pending = again
	}
	if len(beside) == 0 {
		return nil
	}
	values, err := l.load(ctx, beside)
	for _, key := range beside {
		if value, found := values[key]; found && err == nil {
			l.values[key] = value
		}
	}
	return err
}

// taken says what becomes of one result.
type taken int

const (
	takenWhole  taken = iota // its value, or that there is none, is known
	takenLease               // it is this call's to load
	takenAgain               // it is to be asked for again
	takenBeside              // it is to be loaded without the cache
)

// take looks at what the sidecar says of one key.
func (l *loadingMany[T]) take(ctx context.Context, result *sidecarv1.GetOrLoadManyResult, endsAt time.Time) taken {
	key, answer := result.GetKey(), result.GetLoaded()
	if failure := result.GetFailure(); failure != nil {
		return l.failed(key, statusOf(failure))
	}
	switch answer.GetOutcome() {
	case sidecarv1.LoadOutcome_LOAD_OUTCOME_HIT, sidecarv1.LoadOutcome_LOAD_OUTCOME_STALE:
		value, err := l.options.codec.Decode(answer.GetEntry().GetValue())
		if err == nil {
			l.values[key] = value
			return takenWhole
		}
		if l.dropped[key] {
			return takenBeside
		}
		l.dropped[key] = true
		if err := l.drop(ctx, key, answer.GetEntry().GetVersion()); err != nil {
			return l.failed(key, err)
		}
		return takenAgain
	case sidecarv1.LoadOutcome_LOAD_OUTCOME_ABSENT:
		return takenWhole
	case sidecarv1.LoadOutcome_LOAD_OUTCOME_LEASE:
		return takenLease
	}
	if time.Now().Before(endsAt) {
		return takenAgain
	}
	l.errors[key] = stillLoading(answer)
	return takenWhole
}

// failed keeps a key's error, or says that it is the cache's trouble alone.
func (l *loadingMany[T]) failed(key string, err error) taken {
	if l.options.passesOver(err) {
		return takenBeside
	}
	l.errors[key] = err
	return takenWhole
}

// ask makes one call, as loading.ask does.
func (l *loadingMany[T]) ask(
	ctx context.Context, keys []string, wait time.Duration,
) (*sidecarv1.GetOrLoadManyResponse, error) {
	asking, cancel := context.WithTimeout(ctx, l.options.timeout)
	defer cancel()
	return l.client.GetOrLoadMany(asking, &sidecarv1.GetOrLoadManyRequest{
		Cache: l.cache, Keys: keys, Wait: durationpb.New(max(0, wait)),
	})
}

// fill loads entries together and tells the sidecar what that brought; it returns the load's error.
func (l *loadingMany[T]) fill(ctx context.Context, leases []leased) error {
	told := false
	defer func() {
		if !told { // the load has panicked, or ended its goroutine
			l.end(ctx, leases)
		}
	}()
	keys := make([]string, 0, len(leases))
	for _, lease := range leases {
		keys = append(keys, lease.key)
	}
	loaded, err := l.load(ctx, keys)
	told = true
	if err != nil {
		l.end(ctx, leases)
		if l.options.staleIfError && l.standIn(leases) {
			return nil
		}
		return err
	}
	requests := make([]*sidecarv1.FillRequest, 0, len(leases))
	for _, lease := range leases {
		request := &sidecarv1.FillRequest{Cache: l.cache, Key: lease.key, Token: lease.answer.GetToken()}
		value, found := loaded[lease.key]
		octets, err := []byte(nil), error(nil)
		if found {
			octets, err = l.options.codec.Encode(value)
		}
		switch {
		case err != nil:
			l.errors[lease.key] = err
			request.Result = &sidecarv1.FillRequest_Failed{Failed: true}
		case found:
			l.values[lease.key] = value
			request.Result = &sidecarv1.FillRequest_Value{Value: octets}
			request.Ttl = l.options.ttl
		default:
			request.Result = &sidecarv1.FillRequest_Absent{Absent: true}
		}
		requests = append(requests, request)
	}
	for place, err := range l.tellAll(ctx, requests) {
		if _, isValue := requests[place].GetResult().(*sidecarv1.FillRequest_Value); isValue &&
			status.Code(err) == codes.InvalidArgument {
			l.errors[requests[place].GetKey()] = err // as in loading.fill: to be mended
		}
	}
	return nil
}

// standIn takes what is stale for what could not be loaded, and says whether that is all of it.
func (l *loadingMany[T]) standIn(leases []leased) bool {
	whole := true
	for _, lease := range leases {
		old, err := l.options.codec.Decode(lease.answer.GetEntry().GetValue())
		if lease.answer.GetEntry() == nil || err != nil {
			whole = false
			continue
		}
		l.values[lease.key] = old
	}
	return whole
}

// end says of loads that they have failed.
func (l *loadingMany[T]) end(ctx context.Context, leases []leased) {
	requests := make([]*sidecarv1.FillRequest, 0, len(leases))
	for _, lease := range leases {
		requests = append(requests, &sidecarv1.FillRequest{
			Cache: l.cache, Key: lease.key, Token: lease.answer.GetToken(),
			Result: &sidecarv1.FillRequest_Failed{Failed: true},
		})
	}
	l.tellAll(ctx, requests)
}

// tellAll ends loads side by side, and returns the errors in the order of the requests.
func (l *loadingMany[T]) tellAll(ctx context.Context, requests []*sidecarv1.FillRequest) []error {
	errs := make([]error, len(requests))
	var telling sync.WaitGroup
	for place, request := range requests {
		telling.Add(1)
		go func() {
			defer telling.Done()
			errs[place] = l.tell(ctx, request)
		}()
	}
	telling.Wait()
	return errs
}

// statusOf returns what went wrong with one key as the error that a call for it alone would have ended with.
func statusOf(failure *sidecarv1.Failure) error {
	reason := strings.TrimPrefix(failure.GetReason().String(), "ERROR_REASON_")
	made := status.New(codes.Code(failure.GetCode()), failure.GetMessage())
	detailed, err := made.WithDetails(&errdetails.ErrorInfo{
		Reason: reason, Domain: errorDomain, Metadata: failure.GetMetadata(),
	})
	if err != nil {
		return made.Err()
	}
	return detailed.Err()
}

// stillLoading is the error for an entry that another caller has not loaded in time.
func stillLoading(answer *sidecarv1.GetOrLoadResponse) error {
	return fmt.Errorf("%w; it may take %v more", ErrPending, answer.GetRetryAfter().AsDuration())
}

// distinct returns keys once each, in their order.
func distinct(keys []string) []string {
	seen := make(map[string]bool, len(keys))
	once := make([]string, 0, len(keys))
	for _, key := range keys {
		if !seen[key] {
			seen[key] = true
			once = append(once, key)
		}
	}
	return once
}
