// Package sidecar connects Go programs to a sidecar. The calls themselves are the generated ones of package sidecarv1:
//
//	connection, err := sidecar.Dial("127.0.0.1:50051")
//	...
//	defer connection.Close()
//	caches := sidecarv1.NewCacheServiceClient(connection)
//	found, err := caches.Get(ctx, &sidecarv1.GetRequest{Cache: "balances", Key: "account:7"})
//
// Give every call a context with a deadline: the sidecar keeps to it all the way to Redis.
package sidecar

import (
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// A sidecar that vanished without a word (a frozen container) is noticed within 15 s, also between calls. The
	// sidecar tolerates a ping every 10 s, and grpc-go sends none more often.
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second

	// gRPC's own limit of two minutes between attempts to connect is meant for servers far away; a restarted sidecar is
	// back within a second.
	firstReconnect = 100 * time.Millisecond
	lastReconnect  = time.Second

	// How long one attempt to connect may take, next door.
	connectTimeout = time.Second
)

// Dial makes a connection to the sidecar at address, "host:port" or "unix:/path". It connects when it is first used, and
// anew when it is lost. The options come after Dial's own and so win over them: transport credentials, interceptors.
func Dial(address string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                keepaliveTime,
			Timeout:             keepaliveTimeout,
			PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay:  firstReconnect,
				Multiplier: 1.6, // gRPC's own, as is the jitter
				Jitter:     0.2,
				MaxDelay:   lastReconnect,
			},
			MinConnectTimeout: connectTimeout,
		}),
		// The sidecar is next door: a proxy from the environment would lead away from it.
		grpc.WithNoProxy(),
		// A batch of large values is larger than the default of 4 MiB; the sidecar's own limits bound what it sends.
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	}, options...)...)
}
