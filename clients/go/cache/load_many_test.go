package cache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sidecar.internal/clients/go/cache"
	"sidecar.internal/clients/go/sidecarv1"
)

// of is what the sidecar says of one of several keys.
func of(key string, what step) *sidecarv1.GetOrLoadManyResult {
	return &sidecarv1.GetOrLoadManyResult{Key: key, Result: &sidecarv1.GetOrLoadManyResult_Loaded{Loaded: what.response}}
}

// failing is a key that could not be read.
func failing(key string, code codes.Code, reason sidecarv1.ErrorReason) *sidecarv1.GetOrLoadManyResult {
	return &sidecarv1.GetOrLoadManyResult{Key: key, Result: &sidecarv1.GetOrLoadManyResult_Failure{
		Failure: &sidecarv1.Failure{Code: int32(code), Reason: reason, Message: "no luck"},
	}}
}

// digits is an origin of texts by key that notes what it is asked for.
type digits struct {
	has   map[string]string
	asked [][]string
	err   error
}

func (d *digits) read(_ context.Context, keys []string) (map[string]string, error) {
	d.asked = append(d.asked, keys)
	return d.has, d.err
}

// many asks a play for keys.
func many(
	t *testing.T, client sidecarv1.CacheServiceClient, origin *digits, keys []string, options ...cache.Option[string],
) (string, error) {
	t.Helper()
	values, err := cache.GetOrLoadMany(t.Context(), client, "balances", keys, origin.read, options...)
	told := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		told = append(told, key+"="+values[key])
	}
	return fmt.Sprint(told), err
}

// Each key has what the sidecar says of it; what is to be loaded is loaded together, and filled in.
func TestManyAreLoadedTogether(t *testing.T) {
	played, client := playing(t)
	played.many = [][]*sidecarv1.GetOrLoadManyResult{{
		of("a", hit(`"1"`, 3)), of("b", lease("")), of("c", absent()), of("d", lease("")), of("e", lease("")),
	}}
	origin := &digits{has: map[string]string{"b": "2", "d": "4"}}
	values, err := many(t, client, origin, []string{"a", "b", "c", "b", "d", "e"})
	equal(t, "values", "[a=1 b=2 d=4]", values)
	equal(t, "error", nil, err)
	equal(t, "asked", "[[a b c d e]]", fmt.Sprint(played.keys))
	equal(t, "loaded", "[[b d e]]", fmt.Sprint(origin.asked))
	told := map[string]string{}
	for range 3 {
		request := <-played.fills
		told[request.GetKey()] = fmt.Sprint(string(request.GetValue()), request.GetAbsent())
	}
	equal(t, "told", `map[b:"2"false d:"4"false e:true]`, fmt.Sprint(told))
}

// What others load is asked for again, after what is one's own to load.
func TestManyWaitForOthers(t *testing.T) {
	played, client := playing(t)
	played.many = [][]*sidecarv1.GetOrLoadManyResult{
		{of("a", wait()), of("b", lease(""))}, {of("a", wait())}, {of("a", hit(`"1"`, 3))},
	}
	values, err := many(t, client, &digits{has: map[string]string{"b": "2"}}, []string{"a", "b"})
	equal(t, "values", "[a=1 b=2]", values)
	equal(t, "error", nil, err)
	equal(t, "asked", "[[a b] [a] [a]]", fmt.Sprint(played.keys))
}

// Waiting has an end, which is the error of that key alone.
func TestManyDoNotWaitForever(t *testing.T) {
	played, client := playing(t)
	played.many = [][]*sidecarv1.GetOrLoadManyResult{{of("a", wait()), of("b", hit(`"2"`, 3))}}
	values, err := many(t, client, &digits{}, []string{"a", "b"}, cache.Wait[string](0))
	equal(t, "values", "[b=2]", values)
	equal(t, "pending", true, errors.Is(err, cache.ErrPending))
	var failed cache.KeyErrors
	equal(t, "by key", true, errors.As(err, &failed) && len(failed) == 1 && failed["a"] != nil)
}

// What could not be read is that key's error, or loaded beside the cache if only the cache is at fault.
func TestOneOfManyFails(t *testing.T) {
	for _, one := range []struct {
		code     codes.Code
		reason   sidecarv1.ErrorReason
		values   string
		expected string
	}{
		{codes.DataLoss, sidecarv1.ErrorReason_ERROR_REASON_CIPHERTEXT_REJECTED, "[a=1 b=2]", ""},
		{codes.FailedPrecondition, sidecarv1.ErrorReason_ERROR_REASON_WRONG_TYPE, "[b=2]", "WRONG_TYPE"},
	} {
		played, client := playing(t)
		played.many = [][]*sidecarv1.GetOrLoadManyResult{{failing("a", one.code, one.reason), of("b", hit(`"2"`, 3))}}
		values, err := many(t, client, &digits{has: map[string]string{"a": "1"}}, []string{"a", "b"})
		equal(t, "values", one.values, values)
		var failed cache.KeyErrors
		reason := ""
		if errors.As(err, &failed) {
			for _, detail := range status.Convert(failed["a"]).Details() {
				reason = detail.(*errdetails.ErrorInfo).GetReason()
			}
		}
		equal(t, "reason", one.expected, reason)
	}
}

// What the load returns as an error is returned beside what was there, and the others may load.
func TestALoadOfManyThatFails(t *testing.T) {
	played, client := playing(t)
	played.many = [][]*sidecarv1.GetOrLoadManyResult{{of("a", hit(`"1"`, 3)), of("b", lease("")), of("c", lease(`"0"`))}}
	values, err := many(t, client, &digits{err: errLedger}, []string{"a", "b", "c"})
	equal(t, "values", "[a=1]", values)
	equal(t, "error", errLedger, err)
	equal(t, "failed", true, (<-played.fills).GetFailed() && (<-played.fills).GetFailed())
}

// What is stale stands in for it, if asked to; it is an error still if there is not something for each.
func TestWhatIsStaleStandsInForMany(t *testing.T) {
	for old, expected := range map[string]error{`"0"`: nil, "": errLedger} {
		played, client := playing(t)
		played.many = [][]*sidecarv1.GetOrLoadManyResult{{of("a", lease(old)), of("b", lease(`"9"`))}}
		values, err := many(t, client, &digits{err: errLedger}, []string{"a", "b"}, cache.StaleIfError[string]())
		equal(t, "values beside "+old, map[bool]string{true: "[a=0 b=9]", false: "[b=9]"}[expected == nil], values)
		equal(t, "error beside "+old, expected, err)
	}
}

// A load that panics is ended too.
func TestALoadOfManyThatPanicsIsEnded(t *testing.T) {
	played, client := playing(t)
	played.many = [][]*sidecarv1.GetOrLoadManyResult{{of("a", lease("")), of("b", lease(""))}}
	defer func() {
		equal(t, "panic", any("no luck"), recover())
		equal(t, "failed", true, (<-played.fills).GetFailed() && (<-played.fills).GetFailed())
	}()
	_, _ = cache.GetOrLoadMany(t.Context(), client, "balances", []string{"a", "b"},
		func(context.Context, []string) (map[string]string, error) { panic("no luck") })
}

// What cannot be decoded is deleted and asked for again; once more, it is loaded beside the cache.
func TestManyThatCannotBeDecoded(t *testing.T) {
	played, client := playing(t)
	played.many = [][]*sidecarv1.GetOrLoadManyResult{
		{of("a", hit("?", 3)), of("b", hit("?", 4))}, {of("a", lease("")), of("b", hit("?", 5))},
	}
	origin := &digits{has: map[string]string{"a": "1", "b": "2"}}
	values, err := many(t, client, origin, []string{"a", "b"})
	equal(t, "values", "[a=1 b=2]", values)
	equal(t, "error", nil, err)
	equal(t, "loaded", "[[a] [b]]", fmt.Sprint(origin.asked))
	equal(t, "deleted", 2, len(played.deleted))
}

// A sidecar that cannot be asked is done without, or is an error if asked to; a mistake always is one.
func TestASidecarThatCannotBeAskedForMany(t *testing.T) {
	for _, one := range []struct {
		code      codes.Code
		onFailure cache.Failure
		expected  codes.Code
	}{
		{codes.Unavailable, cache.CallLoad, codes.OK},
		{codes.Unavailable, cache.ReturnError, codes.Unavailable},
		{codes.NotFound, cache.CallLoad, codes.NotFound},
	} {
		_, client := playing(t, step{err: status.Error(one.code, "no luck")})
		origin := &digits{has: map[string]string{"a": "1"}}
		values, err := many(t, client, origin, []string{"a", "b"}, cache.OnFailure[string](one.onFailure))
		equal(t, one.code.String(), one.expected, status.Code(err))
		equal(t, one.code.String()+" values", one.expected == codes.OK, values == "[a=1]")
	}
}

// A value that is wrong is that key's error, beside the value.
func TestOneOfManyIsTooLarge(t *testing.T) {
	played, client := playing(t)
	played.fillErr = status.Error(codes.InvalidArgument, "too large")
	played.many = [][]*sidecarv1.GetOrLoadManyResult{{of("a", lease("")), of("b", lease(""))}}
	values, err := many(t, client, &digits{has: map[string]string{"a": "1"}}, []string{"a", "b"})
	equal(t, "values", "[a=1]", values)
	equal(t, "error", `cache: "a": rpc error: code = InvalidArgument desc = too large`, fmt.Sprint(err))
}
