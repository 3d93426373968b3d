package cache

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sidecar.internal/clients/go/sidecarv1"
)

const (
	firstPause   = 10 * time.Millisecond
	longestPause = time.Second
)

// Watch calls hear with each thing that changes in a cache, by whichever sidecar, until ctx is over, whose error it then
// returns. prefixes are the beginnings of the keys that are wanted; none for all.
//
// When the sidecar stops or goes away, hear is told a reset, and the cache is watched again: keep nothing between a
// reset and the next ready. What cannot be watched is an error.
func Watch(
	ctx context.Context, client sidecarv1.InvalidationServiceClient, cache string, prefixes []string,
	hear func(*sidecarv1.WatchInvalidationsResponse),
) error {
	pause := firstPause
	for {
		heard, err := watchOnce(ctx, client, cache, prefixes, hear)
		if heard {
			hear(&sidecarv1.WatchInvalidationsResponse{What: &sidecarv1.WatchInvalidationsResponse_Reset_{Reset_: true}})
			pause = firstPause
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && status.Code(err) != codes.Unavailable {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(pause)):
			pause = min(2*pause, longestPause)
		}
	}
}

// watchOnce watches until the stream ends; it says whether anything was told, and returns no error for a good end.
func watchOnce(
	ctx context.Context, client sidecarv1.InvalidationServiceClient, cache string, prefixes []string,
	hear func(*sidecarv1.WatchInvalidationsResponse),
) (bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := &sidecarv1.WatchInvalidationsRequest{Cache: cache, Prefixes: prefixes}
	stream, err := client.WatchInvalidations(ctx, request)
	if err != nil {
		return false, err
	}
	for heard := false; ; heard = true {
		told, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return heard, nil
		}
		if err != nil {
			return heard, err
		}
		hear(told)
	}
}
