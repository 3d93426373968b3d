package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sidecar.internal/clients/go/cache"
)

type balance struct {
	Account int `json:"account"`
	Cents   int `json:"cents"`
}

var errLedger = errors.New("the ledger is gone")

// ledger is an origin that counts how often it is asked.
type ledger struct {
	asked int
	err   error
}

func (l *ledger) read(context.Context) (balance, error) {
	l.asked++
	if l.err != nil {
		return balance{}, l.err
	}
	return balance{7, 1250}, nil
}

// What is there is decoded, and the load is not called.
func TestAHitIsNotLoaded(t *testing.T) {
	_, client := playing(t, hit(`{"account":7,"cents":1}`, 3))
	origin := &ledger{}
	value, err := cache.GetOrLoad(t.Context(), client, "balances", "k", origin.read)
	equal(t, "value", balance{7, 1}, value)
	equal(t, "error", nil, err)
	equal(t, "loads", 0, origin.asked)
}

// Who has the lease loads and fills in JSON, with its token and the TTL.
func TestALeaseIsLoadedAndFilled(t *testing.T) {
	played, client := playing(t, lease(""))
	value, err := cache.GetOrLoad(
		t.Context(), client, "balances", "k", (&ledger{}).read, cache.TTL[balance](30*time.Second))
	equal(t, "value", balance{7, 1250}, value)
	equal(t, "error", nil, err)
	filled := <-played.fills
	equal(t, "filled", `{"account":7,"cents":1250}`, string(filled.GetValue()))
	equal(t, "token", "t", filled.GetToken())
	equal(t, "ttl", 30*time.Second, filled.GetTtl().AsDuration())
}

// What the origin does not have is remembered as absent, and told to others in the same words.
func TestWhatIsNotFoundIsAbsent(t *testing.T) {
	played, client := playing(t, lease(""), absent())
	origin := &ledger{err: fmt.Errorf("account 7: %w", cache.ErrNotFound)}
	for range 2 {
		_, err := cache.GetOrLoad(t.Context(), client, "balances", "k", origin.read)
		equal(t, "not found", true, errors.Is(err, cache.ErrNotFound))
	}
	equal(t, "absent", true, (<-played.fills).GetAbsent())
	equal(t, "loads", 1, origin.asked)
}

// What the load returns as an error is returned, and another caller may try.
func TestALoadThatFailsIsEnded(t *testing.T) {
	played, client := playing(t, lease(`{"account":7,"cents":1}`))
	_, err := cache.GetOrLoad(t.Context(), client, "balances", "k", (&ledger{err: errLedger}).read)
	equal(t, "error", errLedger, err)
	equal(t, "failed", true, (<-played.fills).GetFailed())
}

// A load that panics is ended too.
func TestALoadThatPanicsIsEnded(t *testing.T) {
	played, client := playing(t, lease(""))
	defer func() {
		equal(t, "panic", any("no luck"), recover())
		equal(t, "failed", true, (<-played.fills).GetFailed())
	}()
	_, _ = cache.GetOrLoad(t.Context(), client, "balances", "k", func(context.Context) (balance, error) { panic("no luck") })
}

// What is stale stands in for a load that fails, if asked to, if there is such a thing, and if it can be decoded.
func TestWhatIsStaleStandsIn(t *testing.T) {
	for old, expected := range map[string]balance{`{"account":7,"cents":1}`: {7, 1}, "": {}, "?": {}} {
		_, client := playing(t, lease(old))
		value, err := cache.GetOrLoad(
			t.Context(), client, "balances", "k", (&ledger{err: errLedger}).read, cache.StaleIfError[balance]())
		equal(t, "value beside "+old, expected, value)
		equal(t, "error beside "+old, expected == balance{}, errors.Is(err, errLedger))
	}
}

// A load whose caller has gone is ended as failed, though its context is over.
func TestALoadThatIsCancelledIsEnded(t *testing.T) {
	played, client := playing(t, lease(""))
	ctx, cancel := context.WithCancel(t.Context())
	_, err := cache.GetOrLoad(ctx, client, "balances", "k", func(ctx context.Context) (balance, error) {
		cancel()
		<-ctx.Done()
		return balance{}, ctx.Err()
	})
	equal(t, "error", context.Canceled, err)
	equal(t, "failed", true, (<-played.fills).GetFailed())
}

// A caller who has gone is not led around the cache: nobody waits for what would be loaded.
func TestACallerWhoHasGoneLoadsNothing(t *testing.T) {
	_, client := playing(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	origin := &ledger{}
	_, err := cache.GetOrLoad(ctx, client, "balances", "k", origin.read)
	equal(t, "error", context.Canceled, err)
	equal(t, "loads", 0, origin.asked)
}

// Who waits asks again: a call may have a shorter deadline than the caller has patience.
func TestWhoWaitsAsksAgain(t *testing.T) {
	played, client := playing(t, wait(), hit(`{"account":7,"cents":1}`, 3))
	value, err := cache.GetOrLoad(t.Context(), client, "balances", "k", (&ledger{}).read)
	equal(t, "value", balance{7, 1}, value)
	equal(t, "error", nil, err)
	equal(t, "asked", 2, played.asked)
}

// Waiting has an end, and no load of one's own after it: a slow origin would get all the calls at once.
func TestWaitingHasAnEnd(t *testing.T) {
	_, client := playing(t, wait())
	origin := &ledger{}
	_, err := cache.GetOrLoad(t.Context(), client, "balances", "k", origin.read, cache.Wait[balance](0))
	equal(t, "pending", true, errors.Is(err, cache.ErrPending))
	equal(t, "loads", 0, origin.asked)
}

// What cannot be decoded is deleted as of its version, and loaded anew.
func TestWhatCannotBeDecodedIsLoadedAnew(t *testing.T) {
	played, client := playing(t, hit("?", 3), lease(""))
	value, err := cache.GetOrLoad(t.Context(), client, "balances", "k", (&ledger{}).read)
	equal(t, "value", balance{7, 1250}, value)
	equal(t, "error", nil, err)
	equal(t, "version", 3, played.deleted[0].GetCondition().GetIfVersion())
	equal(t, "fills", 1, len(played.fills))
}

// What cannot be decoded once more is left to the version of the program that fills it.
func TestWhatCannotBeDecodedTwiceIsLeft(t *testing.T) {
	_, client := playing(t, hit("?", 3), hit("?", 4))
	origin := &ledger{}
	value, err := cache.GetOrLoad(t.Context(), client, "balances", "k", origin.read)
	equal(t, "value", balance{7, 1250}, value)
	equal(t, "error", nil, err)
	equal(t, "loads", 1, origin.asked)
}

// A sidecar that cannot be asked is done without, or is an error if asked to; a mistake always is one.
func TestASidecarThatCannotBeAsked(t *testing.T) {
	for _, one := range []struct {
		code      codes.Code
		onFailure cache.Failure
		expected  codes.Code
	}{
		{codes.Unavailable, cache.CallLoad, codes.OK},
		{codes.ResourceExhausted, cache.CallLoad, codes.OK},
		{codes.Unavailable, cache.ReturnError, codes.Unavailable},
		{codes.NotFound, cache.CallLoad, codes.NotFound},
		{codes.FailedPrecondition, cache.CallLoad, codes.FailedPrecondition},
	} {
		_, client := playing(t, step{err: status.Error(one.code, "no luck")})
		origin := &ledger{}
		_, err := cache.GetOrLoad(
			t.Context(), client, "balances", "k", origin.read, cache.OnFailure[balance](one.onFailure))
		equal(t, one.code.String(), one.expected, status.Code(err))
		equal(t, one.code.String()+" loads", one.expected == codes.OK, origin.asked == 1)
	}
}

// A value that cannot be stored is returned; one that is wrong is an error, or it would be loaded each time, unnoticed.
func TestAValueThatIsNotStored(t *testing.T) {
	for code, expected := range map[codes.Code]codes.Code{
		codes.FailedPrecondition: codes.OK, codes.Unavailable: codes.OK, codes.InvalidArgument: codes.InvalidArgument,
	} {
		played, client := playing(t, lease(""))
		played.fillErr = status.Error(code, "no luck")
		value, err := cache.GetOrLoad(t.Context(), client, "balances", "k", (&ledger{}).read)
		equal(t, "value", balance{7, 1250}, value)
		equal(t, code.String(), expected, status.Code(err))
	}
}

// decimal writes numbers as their digits.
type decimal struct{}

func (decimal) Encode(value int) ([]byte, error) {
	return strconv.AppendInt(nil, int64(value), 10), nil
}
func (decimal) Decode(octets []byte) (int, error) { return strconv.Atoi(string(octets)) }

// Another codec writes and reads in JSON's place.
func TestAnotherCodec(t *testing.T) {
	played, client := playing(t, lease(""), hit("8", 3))
	load := func(context.Context) (int, error) { return 7, nil }
	for _, expected := range []int{7, 8} {
		value, err := cache.GetOrLoad(t.Context(), client, "balances", "k", load, cache.With[int](decimal{}))
		equal(t, "value", expected, value)
		equal(t, "error", nil, err)
	}
	equal(t, "filled", "7", string((<-played.fills).GetValue()))
}
