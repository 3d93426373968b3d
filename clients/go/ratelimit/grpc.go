package ratelimit

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"sidecar.internal/clients/go/sidecarv1"
)

// Call is what a key is made from: a call that has not reached its method yet.
type Call struct {
	// FullMethod is the whole name: "/hospital.v1.Wards/List".
	FullMethod string
	// Request is the message of a unary call; nil for a stream, of which nothing has been read.
	Request any

	ctx context.Context // as in http.Request: it lives as long as the call
}

// Context returns the call's context.
func (c *Call) Context() context.Context { return c.ctx }

// Metadata returns the first value of that name, "" if there is none.
func (c *Call) Metadata(name string) string {
	if values := metadata.ValueFromIncomingContext(c.ctx, name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// Peer returns the other end's address, with the port, which each connection has anew; "" if it is not known.
func (c *Call) Peer() string {
	if other, known := peer.FromContext(c.ctx); known {
		return other.Addr.String()
	}
	return ""
}

// UnaryServerInterceptor returns what puts the rules before unary methods. A refusal ends the call with RESOURCE_EXHAUSTED,
// google.rpc's RetryInfo, and unless the rule is hidden a QuotaFailure that names it; a limit that failed closed ends it
// with UNAVAILABLE and RetryInfo. A key's error and a mistake are INTERNAL.
func UnaryServerInterceptor(
	limits sidecarv1.RateLimitServiceClient, options Options, rules ...Rule[*Call],
) (grpc.UnaryServerInterceptor, error) {
	guard, err := newGuard(limits, options, rules)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := admit(ctx, guard, &Call{FullMethod: info.FullMethod, Request: request, ctx: ctx}); err != nil {
			return nil, err
		}
		return handler(ctx, request)
	}, nil
}

// StreamServerInterceptor does the same for streams of every kind; one counts once, when it begins.
func StreamServerInterceptor(
	limits sidecarv1.RateLimitServiceClient, options Options, rules ...Rule[*Call],
) (grpc.StreamServerInterceptor, error) {
	guard, err := newGuard(limits, options, rules)
	if err != nil {
		return nil, err
	}
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx := stream.Context()
		if err := admit(ctx, guard, &Call{FullMethod: info.FullMethod, ctx: ctx}); err != nil {
			return err
		}
		return handler(server, stream)
	}, nil
}

func admit(ctx context.Context, guard *guard[*Call], call *Call) error {
	_, stoppedBy, err := guard.judge(ctx, call)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	case err != nil:
		guard.options.Logger.Error("the rate limits of a call cannot be asked", "method", call.FullMethod, "error", err)
		return status.Error(codes.Internal, "the rate limits of this method cannot be asked")
	case stoppedBy != nil:
		return refusal(stoppedBy)
	default:
		return nil
	}
}

func refusal(stoppedBy *Answer) error {
	var details []protoadapt.MessageV1
	if stoppedBy.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(stoppedBy.RetryAfter)})
	}
	refused := status.New(codes.ResourceExhausted, "too many calls")
	switch {
	case stoppedBy.Ruling == FailedClosed:
		refused = status.New(codes.Unavailable, "the rate limit of this method cannot be asked at present")
	case !stoppedBy.hidden:
		details = append(details, &errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{{
			Subject:     stoppedBy.Rule,
			Description: fmt.Sprintf("the limit %q is used up: %d at most", stoppedBy.Rule, stoppedBy.Limit),
		}}})
	}
	detailed, err := refused.WithDetails(details...)
	if err != nil { // only a status of OK takes no details
		return refused.Err()
	}
	return detailed.Err()
}
