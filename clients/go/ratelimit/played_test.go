package ratelimit_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"sidecar.internal/clients/go/sidecarv1"
)

// play is a sidecar that answers Check as the test says: the subject here is what stands before routes.
type play struct {
	sidecarv1.UnimplementedRateLimitServiceServer

	mutex    sync.Mutex
	steps    []step
	received []*sidecarv1.CheckRequest
}

// step is an answer or an error.
type step struct {
	response *sidecarv1.CheckResponse
	err      error
}

func (p *play) Check(_ context.Context, request *sidecarv1.CheckRequest) (*sidecarv1.CheckResponse, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.received = append(p.received, request)
	next := p.steps[0]
	p.steps = p.steps[1:]
	return next.response, next.err
}

// playing serves a play that takes these steps, and returns it with a client of it.
func playing(t *testing.T, steps ...step) (*play, sidecarv1.RateLimitServiceClient) {
	t.Helper()
	played := &play{steps: steps}
	connection := serve(t, func(server *grpc.Server) { sidecarv1.RegisterRateLimitServiceServer(server, played) })
	return played, sidecarv1.NewRateLimitServiceClient(connection)
}

// serve starts a server in this process and returns a connection to it; both end with the test.
func serve(t *testing.T, register func(*grpc.Server), options ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	listener, server := bufconn.Listen(1<<16), grpc.NewServer(options...)
	register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient("passthrough:bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

// allowed is a yes.
func allowed(remaining uint64) step {
	return step{response: &sidecarv1.CheckResponse{
		Allowed: true, Limit: 10, Remaining: remaining, ResetAfter: durationpb.New(66 * time.Second),
	}}
}

// refused is a no.
func refused(wait time.Duration) step {
	return step{response: &sidecarv1.CheckResponse{
		Limit: 10, RetryAfter: durationpb.New(wait), ResetAfter: durationpb.New(66 * time.Second),
	}}
}

// fails is an error, with RetryInfo if there is a wait.
func fails(code codes.Code, wait time.Duration) step {
	failed := status.New(code, "no luck")
	if wait > 0 {
		failed, _ = failed.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	}
	return step{err: failed.Err()}
}

// equal fails the test if what came is not what was expected.
func equal[T comparable](t *testing.T, what string, expected, actual T) {
	t.Helper()
	if expected != actual {
		t.Errorf("%s: expected %v, got %v", what, expected, actual)
	}
}

// must returns an answer; an error, with which no test here can go on, panics.
func must[T any](answer T, err error) T {
	if err != nil {
		panic(err)
	}
	return answer
}
