package cache_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"sidecar.internal/clients/go/sidecarv1"
)

// play is a sidecar that answers GetOrLoad as the test says, and keeps what it is told of loads.
type play struct {
	sidecarv1.UnimplementedCacheServiceServer

	mutex   sync.Mutex
	steps   []step
	asked   int
	fills   chan *sidecarv1.FillRequest
	fillErr error
	deleted []*sidecarv1.DeleteRequest
	many    [][]*sidecarv1.GetOrLoadManyResult
	keys    [][]string
}

// step is an answer or an error.
type step struct {
	response *sidecarv1.GetOrLoadResponse
	err      error
}

func (p *play) GetOrLoad(context.Context, *sidecarv1.GetOrLoadRequest) (*sidecarv1.GetOrLoadResponse, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.asked++
	next := p.steps[0]
	p.steps = p.steps[1:]
	return next.response, next.err
}

// GetOrLoadMany answers as the test says, and with the status of the next step once that is all.
func (p *play) GetOrLoadMany(
	_ context.Context, request *sidecarv1.GetOrLoadManyRequest,
) (*sidecarv1.GetOrLoadManyResponse, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.keys = append(p.keys, request.GetKeys())
	if len(p.many) == 0 {
		return nil, p.steps[0].err
	}
	next := p.many[0]
	p.many = p.many[1:]
	return &sidecarv1.GetOrLoadManyResponse{Results: next}, nil
}

func (p *play) Fill(_ context.Context, request *sidecarv1.FillRequest) (*sidecarv1.FillResponse, error) {
	p.fills <- request
	return &sidecarv1.FillResponse{}, p.fillErr
}

func (p *play) Delete(_ context.Context, request *sidecarv1.DeleteRequest) (*sidecarv1.DeleteResponse, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.deleted = append(p.deleted, request)
	return &sidecarv1.DeleteResponse{Outcome: sidecarv1.WriteOutcome_WRITE_OUTCOME_APPLIED}, nil
}

// playing serves a play that takes these steps, and returns it with a client of it; both end with the test.
func playing(t *testing.T, steps ...step) (*play, sidecarv1.CacheServiceClient) {
	t.Helper()
	played := &play{steps: steps, fills: make(chan *sidecarv1.FillRequest, 10)}
	listener, server := bufconn.Listen(1<<16), grpc.NewServer()
	sidecarv1.RegisterCacheServiceServer(server, played)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient("passthrough:bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return played, sidecarv1.NewCacheServiceClient(connection)
}

// hit is an entry that is there.
func hit(value string, version uint64) step {
	return step{response: &sidecarv1.GetOrLoadResponse{
		Outcome: sidecarv1.LoadOutcome_LOAD_OUTCOME_HIT,
		Entry: &sidecarv1.GetResponse{
			Outcome: sidecarv1.Outcome_OUTCOME_HIT, Value: []byte(value), Version: version,
		},
	}}
}

// lease is one that is the caller's to load, beside an old one if that is not empty.
func lease(old string) step {
	answer := &sidecarv1.GetOrLoadResponse{Outcome: sidecarv1.LoadOutcome_LOAD_OUTCOME_LEASE, Token: "t"}
	if old != "" {
		answer.Entry = &sidecarv1.GetResponse{Outcome: sidecarv1.Outcome_OUTCOME_STALE, Value: []byte(old)}
	}
	return step{response: answer}
}

// absent is one of which the origin has none.
func absent() step {
	return step{response: &sidecarv1.GetOrLoadResponse{Outcome: sidecarv1.LoadOutcome_LOAD_OUTCOME_ABSENT}}
}

// wait is one that another loads.
func wait() step {
	return step{response: &sidecarv1.GetOrLoadResponse{
		Outcome: sidecarv1.LoadOutcome_LOAD_OUTCOME_WAIT, RetryAfter: durationpb.New(2 * time.Second),
	}}
}

// equal fails the test if what came is not what was expected.
func equal[T comparable](t *testing.T, what string, expected, actual T) {
	t.Helper()
	if expected != actual {
		t.Errorf("%s: expected %v, got %v", what, expected, actual)
	}
}
