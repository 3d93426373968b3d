// Calls of a running sidecar that has the policies of examples/hospital/sidecar.yaml and listens at SIDECAR_ADDRESS.
package sidecar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	sidecar "sidecar.internal/clients/go"
	"sidecar.internal/clients/go/cache"
	"sidecar.internal/clients/go/sidecarv1"
)

// dial connects to the sidecar under test, or skips the test if there is none.
func dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	address := os.Getenv("SIDECAR_ADDRESS")
	if address == "" {
		t.Skip("SIDECAR_ADDRESS names no running sidecar")
	}
	connection, err := sidecar.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// deadline returns a context that ends before the test's own patience does.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// fresh returns a key that no other run has used.
func fresh(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("go:%s:%d", t.Name(), time.Now().UnixNano())
}

// equal fails the test if what came is not what was expected.
func equal[T comparable](t *testing.T, what string, expected, actual T) {
	t.Helper()
	if expected != actual {
		t.Errorf("%s: expected %v, got %v", what, expected, actual)
	}
	t.Logf("%s: %v", what, actual)
}

// must returns a call's answer; an error, with which no test here can go on, panics.
func must[T any](answer T, err error) T {
	if err != nil {
		panic(err)
	}
	return answer
}

// A value that is set is read back byte for byte, with its version and a TTL within the one asked for.
func TestSetThenGet(t *testing.T) {
	caches, ctx, key := sidecarv1.NewCacheServiceClient(dial(t)), deadline(t), fresh(t)

	missed := must(caches.Get(ctx, &sidecarv1.GetRequest{Cache: "balances", Key: key}))
	equal(t, "before", sidecarv1.Outcome_OUTCOME_MISS, missed.GetOutcome())

	written := must(caches.Set(ctx, &sidecarv1.SetRequest{
		Cache: "balances", Key: key, Value: []byte("12.50\x00\xff"), Ttl: durationpb.New(20 * time.Second),
	}))
	equal(t, "set", sidecarv1.WriteOutcome_WRITE_OUTCOME_APPLIED, written.GetOutcome())

	found := must(caches.Get(ctx, &sidecarv1.GetRequest{Cache: "balances", Key: key}))
	equal(t, "after", sidecarv1.Outcome_OUTCOME_HIT, found.GetOutcome())
	equal(t, "value is the same", true, bytes.Equal([]byte("12.50\x00\xff"), found.GetValue()))
	equal(t, "version", written.GetVersion(), found.GetVersion())
	if ttl := found.GetTtl().AsDuration(); ttl <= 0 || ttl > 20*time.Second {
		t.Errorf("ttl: expected at most 20s, got %v", ttl)
	}
}

// A condition that does not hold is an outcome, and changes nothing.
func TestSetUnderACondition(t *testing.T) {
	caches, ctx := sidecarv1.NewCacheServiceClient(dial(t)), deadline(t)
	request := &sidecarv1.SetRequest{
		Cache: "default", Key: fresh(t), Value: []byte("first"),
		Condition: &sidecarv1.Condition{Kind: &sidecarv1.Condition_IfAbsent{IfAbsent: true}},
	}
	first := must(caches.Set(ctx, request))
	equal(t, "first", sidecarv1.WriteOutcome_WRITE_OUTCOME_APPLIED, first.GetOutcome())
	second := must(caches.Set(ctx, request))
	equal(t, "second", sidecarv1.WriteOutcome_WRITE_OUTCOME_CONDITION_NOT_MET, second.GetOutcome())
}

// A patient's record comes back with its fields and their types; a read mask picks some.
func TestPutThenGetRecord(t *testing.T) {
	records, ctx, key := sidecarv1.NewRecordServiceClient(dial(t)), deadline(t), fresh(t)
	name := &sidecarv1.FieldValue{Value: &sidecarv1.FieldValue_Text{Text: "Test Patient"}}
	ward := &sidecarv1.FieldValue{Value: &sidecarv1.FieldValue_Integer{Integer: 4}}
	put := must(records.PutRecord(ctx, &sidecarv1.PutRecordRequest{
		Cache: "patients", Key: key, Fields: map[string]*sidecarv1.FieldValue{"name": name, "ward": ward},
	}))
	equal(t, "put", sidecarv1.WriteOutcome_WRITE_OUTCOME_APPLIED, put.GetOutcome())

	whole := must(records.GetRecord(ctx, &sidecarv1.GetRecordRequest{Cache: "patients", Key: key}))
	equal(t, "fields", 2, len(whole.GetFields()))
	equal(t, "name", true, proto.Equal(name, whole.GetFields()["name"]))
	equal(t, "ward", true, proto.Equal(ward, whole.GetFields()["ward"]))

	masked := must(records.GetRecord(ctx, &sidecarv1.GetRecordRequest{
		Cache: "patients", Key: key, ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"ward"}},
	}))
	equal(t, "masked fields", 1, len(masked.GetFields()))
}

// Ten logins in a minute are allowed; the eleventh is refused and told when to come again.
func TestCheckRefusesTheEleventh(t *testing.T) {
	limits, ctx := sidecarv1.NewRateLimitServiceClient(dial(t)), deadline(t)
	request := &sidecarv1.CheckRequest{Policy: "auth", Key: fresh(t)}
	for number := range uint64(10) {
		decision := must(limits.Check(ctx, request))
		equal(t, "allowed", true, decision.GetAllowed())
		equal(t, "remaining", 9-number, decision.GetRemaining())
	}
	refused := must(limits.Check(ctx, request))
	equal(t, "allowed", false, refused.GetAllowed())
	// The window is counted in ten parts, and a slot comes free at most one part late.
	if wait := refused.GetRetryAfter().AsDuration(); wait <= 0 || wait > 66*time.Second {
		t.Errorf("retry_after: expected at most 66s, got %v", wait)
	}
}

// An unknown cache is NOT_FOUND, with the reason from the catalogue in the status details.
func TestAnErrorHasItsReason(t *testing.T) {
	caches, ctx := sidecarv1.NewCacheServiceClient(dial(t)), deadline(t)
	_, err := caches.Get(ctx, &sidecarv1.GetRequest{Cache: "balance", Key: "k"})
	failed := status.Convert(err)
	equal(t, "code", codes.NotFound, failed.Code())
	for _, detail := range failed.Details() {
		if info, is := detail.(*errdetails.ErrorInfo); is {
			equal(t, "reason", "CACHE_UNKNOWN", info.GetReason())
			equal(t, "nearest", "balances", info.GetMetadata()["nearest"])
			return
		}
	}
	t.Error("the status has no ErrorInfo")
}

// The health service says that the sidecar serves, as a whole and by service.
func TestHealth(t *testing.T) {
	health, ctx := grpc_health_v1.NewHealthClient(dial(t)), deadline(t)
	for _, service := range []string{"", sidecarv1.CacheService_ServiceDesc.ServiceName} {
		answer := must(health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service}))
		equal(t, fmt.Sprintf("health of %q", service), grpc_health_v1.HealthCheckResponse_SERVING, answer.GetStatus())
	}
}

// Of many who ask for an entry at once, one loads it, and all have what it loaded.
func TestManyLoadOnce(t *testing.T) {
	caches, ctx, key := sidecarv1.NewCacheServiceClient(dial(t)), deadline(t), fresh(t)
	var loads atomic.Int64
	load := func(context.Context) (string, error) {
		time.Sleep(100 * time.Millisecond) // for as long others find nothing
		return fmt.Sprintf("12.5%d", loads.Add(1)), nil
	}
	values := make(chan string)
	for range 50 {
		go func() { values <- must(cache.GetOrLoad(ctx, caches, "balances", key, load)) }()
	}
	for range 50 {
		equal(t, "value", "12.51", <-values)
	}
	equal(t, "loads", 1, loads.Load())
}

// Of several entries those that are not there are loaded together, once; what the origin does not have is left out.
func TestManyAreLoadedOnARealSidecar(t *testing.T) {
	caches, ctx, prefix := sidecarv1.NewCacheServiceClient(dial(t)), deadline(t), fresh(t)
	keys, asked := []string{prefix + "a", prefix + "b", prefix + "none"}, 0
	load := func(_ context.Context, keys []string) (map[string]string, error) {
		asked += len(keys)
		return map[string]string{prefix + "a": "1", prefix + "b": "2"}, nil
	}
	for range 2 {
		values, err := cache.GetOrLoadMany(ctx, caches, "balances", keys[:2], load)
		equal(t, "error", nil, err)
		equal(t, "values", 2, len(values))
		equal(t, "value", "2", values[prefix+"b"])
	}
	equal(t, "asked", 2, asked)
	values, err := cache.GetOrLoadMany(ctx, caches, "balances", keys, load)
	equal(t, "error", nil, err)
	equal(t, "values", 2, len(values))
	equal(t, "asked", 3, asked)
}

// That the origin has no such thing ends the load: with a negative_ttl of 0, the next one loads at once.
func TestNotFoundEndsTheLoad(t *testing.T) {
	caches, ctx, key := sidecarv1.NewCacheServiceClient(dial(t)), deadline(t), fresh(t)
	loads := 0
	for range 2 {
		_, err := cache.GetOrLoad(ctx, caches, "default", key, func(context.Context) (string, error) {
			loads++
			return "", cache.ErrNotFound
		}, cache.Wait[string](0))
		equal(t, "not found", true, errors.Is(err, cache.ErrNotFound))
	}
	equal(t, "loads", 2, loads)
}

func TestWatchHearsOfAChange(t *testing.T) {
	connection := dial(t)
	ctx, cancel := context.WithCancel(deadline(t))
	caches := sidecarv1.NewCacheServiceClient(connection)
	key := fresh(t)
	var heard []string
	err := cache.Watch(ctx, sidecarv1.NewInvalidationServiceClient(connection), "balances", []string{key},
		func(told *sidecarv1.WatchInvalidationsResponse) {
			switch what := told.GetWhat().(type) {
			case *sidecarv1.WatchInvalidationsResponse_Ready:
				if _, err := caches.Set(ctx, &sidecarv1.SetRequest{Cache: "balances", Key: key, Value: []byte("v")}); err != nil {
					t.Error(err)
				}
			case *sidecarv1.WatchInvalidationsResponse_Keys:
				heard = append(heard, what.Keys.GetKeys()...)
				cancel()
			}
		})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the watch ended with %v", err)
	}
	equal(t, "keys", 1, len(heard))
	equal(t, "key", key, heard[0])
}

func TestWatchOfAnUnknownCacheIsAnError(t *testing.T) {
	client := sidecarv1.NewInvalidationServiceClient(dial(t))
	err := cache.Watch(deadline(t), client, "no-such-cache", nil, func(*sidecarv1.WatchInvalidationsResponse) {})
	equal(t, "code", codes.NotFound, status.Code(err))
}
