// The common plan of calls, made by grpc-go; one line is printed for each step.
//
// Usage: client TARGET, where TARGET is host:port or unix:/path.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	stepTime = 30 * time.Second
	wrong    = "what is wrong: ü, 100 %"
)

// raw carries messages as bytes: nothing is generated.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = bytes.Clone(data)
	return nil
}

type client struct{ connection *grpc.ClientConn }

func path(method string) string { return "/conformance.Plan/" + method }

func (c client) unary(ctx context.Context, method string, message []byte, options ...grpc.CallOption) ([]byte, error) {
	var answer []byte
	err := c.connection.Invoke(ctx, path(method), &message, &answer, options...)
	return answer, err
}

func (c client) open(ctx context.Context, method string, up, down bool) (grpc.ClientStream, error) {
	return c.connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: up, ServerStreams: down}, path(method))
}

func (c client) gather(ctx context.Context, method string, messages [][]byte) ([]byte, error) {
	stream, err := c.open(ctx, method, true, false)
	if err != nil {
		return nil, err
	}
	if err := send(stream, messages); err != nil {
		return nil, err
	}
	return receive(stream)
}

func (c client) repeat(ctx context.Context, what string) (grpc.ClientStream, error) {
	stream, err := c.open(ctx, "Repeat", false, true)
	if err != nil {
		return nil, err
	}
	return stream, send(stream, [][]byte{[]byte(what)})
}

func send(stream grpc.ClientStream, messages [][]byte) error {
	for _, message := range messages {
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
	}
	return stream.CloseSend()
}

func receive(stream grpc.ClientStream) ([]byte, error) {
	var answer []byte
	err := stream.RecvMsg(&answer)
	return answer, err
}

func collect(stream grpc.ClientStream) ([][]byte, error) {
	var answers [][]byte
	for {
		answer, err := receive(stream)
		if errors.Is(err, io.EOF) {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		answers = append(answers, answer)
	}
}

func (c client) ended(ctx context.Context) (int, error) {
	answer, err := c.unary(ctx, "Ended", nil)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(answer))
}

// awaitEnd waits until the server has seen more calls end before their time.
func (c client) awaitEnd(ctx context.Context, before int) error {
	for ctx.Err() == nil {
		now, err := c.ended(ctx)
		if err != nil || now > before {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return errors.New("the server never saw the call end")
}

func expect[T any](expected, actual T) error {
	if left, right := fmt.Sprintf("%q", any(expected)), fmt.Sprintf("%q", any(actual)); left != right {
		return fmt.Errorf("expected %.200s, got %.200s", left, right)
	}
	return nil
}

func same(expected, actual []byte) error {
	if !bytes.Equal(expected, actual) {
		return errors.New("the bytes differ")
	}
	return nil
}

func expectCode(expected codes.Code, err error) error {
	return expect(expected.String(), status.Code(err).String())
}

func pattern(size int) []byte {
	made := make([]byte, size)
	for place := range made {
		made[place] = byte(place % 251)
	}
	return made
}

func repeated(message []byte, count int) [][]byte {
	made := make([][]byte, count)
	for place := range made {
		made[place] = message
	}
	return made
}

func (c client) echo(ctx context.Context, message []byte, options ...grpc.CallOption) error {
	answer, err := c.unary(ctx, "Echo", message, options...)
	return errors.Join(err, same(message, answer))
}

func (c client) serverStream(ctx context.Context) error {
	stream, err := c.repeat(ctx, "5 10")
	if err != nil {
		return err
	}
	answers, err := collect(stream)
	return errors.Join(err, expect(repeated(pattern(10), 5), answers))
}

func (c client) clientStream(ctx context.Context) error {
	answer, err := c.gather(ctx, "Join", [][]byte{[]byte("a"), []byte("b"), []byte("c")})
	return errors.Join(err, same([]byte("abc"), answer))
}

func (c client) bidiStream(ctx context.Context) error {
	stream, err := c.open(ctx, "Converse", true, true)
	if err != nil {
		return err
	}
	for number := range 5 {
		message := []byte(strconv.Itoa(number))
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
		answer, err := receive(stream)
		if err := errors.Join(err, same(message, answer)); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	rest, err := collect(stream)
	return errors.Join(err, expect(nil, rest))
}

func (c client) noMessages(ctx context.Context) error {
	answer, err := c.gather(ctx, "Join", nil)
	if err := errors.Join(err, same(nil, answer)); err != nil {
		return err
	}
	stream, err := c.repeat(ctx, "0 0")
	if err != nil {
		return err
	}
	answers, err := collect(stream)
	return errors.Join(err, expect(nil, answers))
}

func (c client) fail(ctx context.Context) error {
	details := append([]byte{0x08, 0x09, 0x12, byte(len(wrong))}, wrong...)
	var trailer metadata.MD
	_, err := c.unary(ctx, "Fail", details, grpc.Trailer(&trailer))
	return errors.Join(
		expectCode(codes.FailedPrecondition, err),
		expect(wrong, status.Convert(err).Message()),
		expect([]string{string(details)}, trailer.Get("grpc-status-details-bin")),
	)
}

func (c client) failAfterMessages(ctx context.Context) error {
	stream, err := c.repeat(ctx, "2 10 10")
	if err != nil {
		return err
	}
	answers, err := collect(stream)
	return errors.Join(
		expect(repeated(pattern(10), 2), answers),
		expectCode(codes.Aborted, err),
		expect(wrong, status.Convert(err).Message()),
	)
}

func (c client) unknownMethod(ctx context.Context) error {
	_, err := c.unary(ctx, "Nope", nil)
	return expectCode(codes.Unimplemented, err)
}

func (c client) deadline(ctx context.Context) error {
	before, err := c.ended(ctx)
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = c.unary(short, "Hang", nil)
	return errors.Join(expectCode(codes.DeadlineExceeded, err), c.awaitEnd(ctx, before))
}

func (c client) cancelUnary(ctx context.Context) error {
	before, err := c.ended(ctx)
	if err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(ctx)
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err = c.unary(cancelled, "Hang", nil)
	return errors.Join(expectCode(codes.Canceled, err), c.awaitEnd(ctx, before))
}

func (c client) cancelStream(ctx context.Context) error {
	before, err := c.ended(ctx)
	if err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.repeat(cancelled, "1000000 1000")
	if err != nil {
		return err
	}
	answer, err := receive(stream)
	if err := errors.Join(err, same(pattern(1000), answer)); err != nil {
		return err
	}
	cancel()
	_, err = collect(stream)
	return errors.Join(expectCode(codes.Canceled, err), c.awaitEnd(ctx, before))
}

func (c client) metadata(ctx context.Context) error {
	values := map[string][]string{
		"text": {"words, and more"}, "twice": {"1", "2"}, "data-bin": {"\x00\xff\x01\xfe\x2c\x0a"},
	}
	sent := metadata.MD{}
	for name, all := range values {
		sent.Append("x-echo-"+name, all...)
		sent.Append("x-trail-"+name, all...)
	}
	stream, err := c.open(metadata.NewOutgoingContext(ctx, sent), "Converse", true, true)
	if err != nil {
		return err
	}
	if err := send(stream, [][]byte{[]byte("m")}); err != nil {
		return err
	}
	header, err := stream.Header()
	if err != nil {
		return err
	}
	if _, err := collect(stream); err != nil {
		return err
	}
	var wrongs []error
	for name, all := range values {
		wrongs = append(wrongs, expect(all, header.Get("x-echo-"+name)))
		wrongs = append(wrongs, expect(all, stream.Trailer().Get("x-trail-"+name)))
	}
	return errors.Join(wrongs...)
}

func (c client) largeUpload(ctx context.Context) error {
	answer, err := c.gather(ctx, "Count", repeated(pattern(128<<10), 64))
	return errors.Join(err, same([]byte("64 8388608"), answer))
}

func (c client) slowReader(ctx context.Context) error {
	stream, err := c.repeat(ctx, "200 65536")
	if err != nil {
		return err
	}
	expected := pattern(65536)
	answer, err := receive(stream)
	if err := errors.Join(err, same(expected, answer)); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	answers, err := collect(stream)
	if err := errors.Join(err, expect(199, len(answers))); err != nil {
		return err
	}
	return same(bytes.Repeat(expected, 199), bytes.Join(answers, nil))
}

func (c client) largeConversation(ctx context.Context) error {
	stream, err := c.open(ctx, "Converse", true, true)
	if err != nil {
		return err
	}
	messages := repeated(pattern(128<<10), 64)
	sent := make(chan error, 1)
	go func() { sent <- send(stream, messages) }()
	answers, err := collect(stream)
	return errors.Join(err, <-sent, same(bytes.Join(messages, nil), bytes.Join(answers, nil)))
}

func (c client) manyCalls(ctx context.Context) error {
	const callers = 100
	done := make(chan error, callers)
	for caller := range callers {
		go func() {
			var err error
			for turn := 0; turn < 5 && err == nil; turn++ {
				err = c.echo(ctx, fmt.Appendf(nil, "%d/%d", caller, turn))
			}
			done <- err
		}()
	}
	var err error
	for range callers {
		err = errors.Join(err, <-done)
	}
	return err
}

func (c client) compression(ctx context.Context) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "x-compress", "yes")
	return c.echo(ctx, make([]byte, 100_000), grpc.UseCompressor(gzip.Name))
}

func run(target string) error {
	connection, err := grpc.NewClient(
		target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.MaxCallRecvMsgSize(1<<30)),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	c := client{connection}
	steps := []struct {
		name string
		make func(context.Context) error
	}{
		{"unary", func(ctx context.Context) error { return c.echo(ctx, []byte("hello")) }},
		{"empty-message", func(ctx context.Context) error { return c.echo(ctx, nil) }},
		{"server-stream", c.serverStream},
		{"client-stream", c.clientStream},
		{"bidi-stream", c.bidiStream},
		{"no-messages", c.noMessages},
		{"error", c.fail},
		{"error-after-messages", c.failAfterMessages},
		{"unknown-method", c.unknownMethod},
		{"deadline", c.deadline},
		{"cancel-unary", c.cancelUnary},
		{"cancel-stream", c.cancelStream},
		{"metadata", c.metadata},
		{"large-message", func(ctx context.Context) error { return c.echo(ctx, pattern(3<<20)) }},
		{"large-upload", c.largeUpload},
		{"slow-reader", c.slowReader},
		{"large-conversation", c.largeConversation},
		{"many-calls", c.manyCalls},
		{"compression", c.compression},
	}
	var failed error
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(context.Background(), stepTime)
		if err := step.make(ctx); err != nil {
			failed = errors.New("not all steps went well")
			fmt.Printf("FAIL %s: %.500s\n", step.name, strings.ReplaceAll(err.Error(), "\n", "; "))
		} else {
			fmt.Println("ok", step.name)
		}
		cancel()
	}
	return failed
}

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
