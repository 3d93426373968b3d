package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sidecar.internal/clients/go/ratelimit"
	"sidecar.internal/clients/go/sidecarv1"
)

type callRule = ratelimit.Rule[*ratelimit.Call]

var byUser = callRule{
	Policy: "auth", Name: "logins", OnFailure: ratelimit.FailClosed,
	Key: func(call *ratelimit.Call) (string, error) { return call.Metadata("x-user"), nil },
}

type message = wrapperspb.StringValue

// kinds is a service of four methods, one of each kind, that answer with what they are sent.
var kinds = grpc.ServiceDesc{
	ServiceName: "test.Kinds",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "UnaryUnary", Handler: func(
		server any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor,
	) (any, error) {
		request := &message{}
		if err := decode(request); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: server, FullMethod: "/test.Kinds/UnaryUnary"}
		return interceptor(ctx, request, info, func(context.Context, any) (any, error) { return request, nil })
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "UnaryStream", Handler: echo, ServerStreams: true},
		{StreamName: "StreamUnary", Handler: echo, ClientStreams: true},
		{StreamName: "StreamStream", Handler: echo, ServerStreams: true, ClientStreams: true},
	},
}

func echo(_ any, stream grpc.ServerStream) error {
	request := &message{}
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	return stream.SendMsg(request)
}

// limited serves the four kinds behind the rules.
func limited(t *testing.T, limits sidecarv1.RateLimitServiceClient, rules ...callRule) *grpc.ClientConn {
	t.Helper()
	return serve(t, func(server *grpc.Server) { server.RegisterService(&kinds, nil) },
		grpc.UnaryInterceptor(must(ratelimit.UnaryServerInterceptor(limits, quiet, rules...))),
		grpc.StreamInterceptor(must(ratelimit.StreamServerInterceptor(limits, quiet, rules...))))
}

// call calls a method with one message as "ada", and returns the answer's text.
func call(t *testing.T, connection *grpc.ClientConn, kind string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "x-user", "ada")
	request, response := &message{Value: "hello"}, &message{}
	if kind == "UnaryUnary" {
		err := connection.Invoke(ctx, "/test.Kinds/UnaryUnary", request, response)
		return response.GetValue(), err
	}
	shape := &grpc.StreamDesc{ServerStreams: strings.HasSuffix(kind, "Stream"), ClientStreams: strings.HasPrefix(kind, "Stream")}
	stream, err := connection.NewStream(ctx, shape, "/test.Kinds/"+kind)
	if err != nil {
		return "", err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) { // refused already: the status is read next
		return "", err
	}
	if err := stream.CloseSend(); err != nil {
		return "", err
	}
	err = stream.RecvMsg(response)
	return response.GetValue(), err
}

// details returns a status's RetryInfo and the subjects of its QuotaFailure.
func details(err error) (wait time.Duration, subjects []string) {
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.RetryInfo:
			wait = detail.GetRetryDelay().AsDuration()
		case *errdetails.QuotaFailure:
			for _, violation := range detail.GetViolations() {
				subjects = append(subjects, violation.GetSubject())
			}
		}
	}
	return wait, subjects
}

// eachKind runs a test for each kind of method.
func eachKind(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range []string{"UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

// What is allowed reaches its method; a stream is charged once.
func TestAnAllowedCall(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		played, limits := playing(t, allowed(9))
		answer, err := call(t, limited(t, limits, byUser), kind)
		equal(t, "error", nil, err)
		equal(t, "answer", "hello", answer)
		equal(t, "checks", 1, len(played.received))
		equal(t, "key", "ada", played.received[0].GetKey())
	})
}

// What is refused says when to come again, to the millisecond, and which limit it was.
func TestARefusedCall(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		_, limits := playing(t, refused(57_600*time.Millisecond))
		_, err := call(t, limited(t, limits, byUser), kind)
		wait, subjects := details(err)
		equal(t, "code", codes.ResourceExhausted, status.Code(err))
		equal(t, "wait", 57_600*time.Millisecond, wait)
		equal(t, "subjects", "[logins]", fmt.Sprint(subjects))
	})
}

// A limit that cannot be asked is open or closed.
func TestACallWhoseLimitFails(t *testing.T) {
	eachKind(t, func(t *testing.T, kind string) {
		failure := fails(codes.Unavailable, 2500*time.Millisecond)
		_, limits := playing(t, failure, failure)
		_, err := call(t, limited(t, limits, byUser), kind)
		wait, subjects := details(err)
		equal(t, "code", codes.Unavailable, status.Code(err))
		equal(t, "wait", 2500*time.Millisecond, wait)
		equal(t, "subjects", 0, len(subjects))

		open := byUser
		open.OnFailure = ratelimit.FailOpen
		answer, err := call(t, limited(t, limits, open), kind)
		equal(t, "error", nil, err)
		equal(t, "answer", "hello", answer)
	})
}

// Several limits end with the first refusal; one that is hidden is not named.
func TestSeveralLimitsOfACall(t *testing.T) {
	hidden := callRule{Policy: "api", OnFailure: ratelimit.FailOpen, Hidden: true, Key: func(*ratelimit.Call) (string, error) {
		return "all", nil
	}}
	last := byUser
	last.Name = "last"
	played, limits := playing(t, allowed(9), refused(2*time.Second))
	_, err := call(t, limited(t, limits, byUser, hidden, last), "UnaryUnary")
	wait, subjects := details(err)
	equal(t, "code", codes.ResourceExhausted, status.Code(err))
	equal(t, "wait", 2*time.Second, wait)
	equal(t, "subjects", 0, len(subjects))
	equal(t, "checks", 2, len(played.received))
}

// A key sees method, peer and message; a stream has no message yet.
func TestWhatAKeySees(t *testing.T) {
	for kind, expected := range map[string]string{"UnaryUnary": "hello", "StreamStream": "<nil>"} {
		played, limits := playing(t, allowed(9))
		rule := byUser
		rule.Key = func(call *ratelimit.Call) (string, error) {
			text := "<nil>"
			if request, is := call.Request.(*message); is {
				text = request.GetValue()
			}
			if call.Context() == nil {
				return "", errors.New("a call has a context")
			}
			return fmt.Sprint(call.FullMethod, " ", call.Peer(), " ", text), nil
		}
		must(call(t, limited(t, limits, rule), kind))
		equal(t, kind, "/test.Kinds/"+kind+" bufconn "+expected, played.received[0].GetKey())
	}
}

// A mistake does not fail open, and neither does a key's error; a rule that does not concern the call is not asked.
func TestCallsWithMistakes(t *testing.T) {
	open := byUser
	open.OnFailure = ratelimit.FailOpen
	_, limits := playing(t, fails(codes.NotFound, 0))
	_, err := call(t, limited(t, limits, open), "UnaryUnary")
	equal(t, "code", codes.Internal, status.Code(err))

	open.Key = func(*ratelimit.Call) (string, error) { return "", errors.New("no key") }
	_, err = call(t, limited(t, limits, open), "StreamUnary")
	equal(t, "code", codes.Internal, status.Code(err))

	open.Key = func(*ratelimit.Call) (string, error) { return "", ratelimit.Skip }
	equal(t, "answer", "hello", must(call(t, limited(t, limits, open), "UnaryUnary")))
}
