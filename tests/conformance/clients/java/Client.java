// The common plan of calls, made by grpc-java over Netty; one line is printed for each step.
//
// Usage: java Client TARGET, where TARGET is `host:port` or `unix:/path`.

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientInterceptors;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.unix.DomainSocketAddress;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

public final class Client {
  private static final long STEP_SECONDS = 30;
  private static final String WRONG = "what is wrong: ü, 100 %";
  private static final byte[] NOTHING = {};
  private static final Metadata.Key<byte[]> DETAILS =
      Metadata.Key.of("grpc-status-details-bin", Metadata.BINARY_BYTE_MARSHALLER);

  private interface Step {
    void make() throws Exception;
  }

  /** A step found something else than it expected. */
  private static final class Mismatch extends RuntimeException {
    Mismatch(String message) {
      super(message);
    }
  }

  /** Messages are bytes: nothing is generated. */
  private static final class Raw implements MethodDescriptor.Marshaller<byte[]> {
    @Override
    public InputStream stream(byte[] message) {
      return new ByteArrayInputStream(message);
    }

    @Override
    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  /** The answers of a stream, of which the next is asked for when one is taken: a client may read slowly. */
  private static final class Answers implements ClientResponseObserver<byte[], byte[]> {
    private static final Object END = new Object();
    private final LinkedBlockingQueue<Object> waiting = new LinkedBlockingQueue<>();
    private ClientCallStreamObserver<byte[]> call;

    @Override
    public void beforeStart(ClientCallStreamObserver<byte[]> started) {
      call = started;
      started.disableAutoRequestWithInitial(1);
    }

    @Override
    public void onNext(byte[] answer) {
      waiting.add(answer);
    }

    @Override
    public void onError(Throwable error) {
      waiting.add(error);
    }

    @Override
    public void onCompleted() {
      waiting.add(END);
    }

    /** Returns the next answer, or null at the end; raises the status of a call that failed. */
    byte[] next() throws InterruptedException {
      Object first = waiting.poll(STEP_SECONDS, TimeUnit.SECONDS);
      if (first == null) {
        throw new Mismatch("no answer in time");
      }
      if (first instanceof StatusRuntimeException failure) {
        throw failure;
      }
      if (first == END) {
        return null;
      }
      call.request(1);
      return (byte[]) first;
    }

    List<byte[]> rest() throws InterruptedException {
      List<byte[]> answers = new ArrayList<>();
      for (byte[] answer = next(); answer != null; answer = next()) {
        answers.add(answer);
      }
      return answers;
    }
  }

  private final Channel channel;

  private Client(Channel channel) {
    this.channel = channel;
  }

  private static MethodDescriptor<byte[], byte[]> method(String name, MethodType type) {
    return MethodDescriptor.<byte[], byte[]>newBuilder()
        .setType(type)
        .setFullMethodName("conformance.Plan/" + name)
        .setRequestMarshaller(new Raw())
        .setResponseMarshaller(new Raw())
        .build();
  }

  private static CallOptions limit() {
    return CallOptions.DEFAULT.withDeadlineAfter(STEP_SECONDS, TimeUnit.SECONDS);
  }

  private byte[] unary(String name, byte[] message) {
    return unary(name, message, limit());
  }

  private byte[] unary(String name, byte[] message, CallOptions options) {
    return ClientCalls.blockingUnaryCall(channel, method(name, MethodType.UNARY), options, message);
  }

  private StatusRuntimeException failure(String name, byte[] message, CallOptions options) {
    try {
      unary(name, message, options);
    } catch (StatusRuntimeException error) {
      return error;
    }
    throw new Mismatch("it did not fail");
  }

  private byte[] gather(String name, List<byte[]> messages) throws InterruptedException {
    Answers answers = new Answers();
    var call = channel.newCall(method(name, MethodType.CLIENT_STREAMING), limit());
    send(ClientCalls.asyncClientStreamingCall(call, answers), messages);
    List<byte[]> all = answers.rest();
    expect(1, all.size());
    return all.get(0);
  }

  private Answers repeat(String what) {
    Answers answers = new Answers();
    var call = channel.newCall(method("Repeat", MethodType.SERVER_STREAMING), limit());
    ClientCalls.asyncServerStreamingCall(call, bytes(what), answers);
    return answers;
  }

  private static StreamObserver<byte[]> converse(Channel channel, Answers answers) {
    var call = channel.newCall(method("Converse", MethodType.BIDI_STREAMING), limit());
    return ClientCalls.asyncBidiStreamingCall(call, answers);
  }

  private static void send(StreamObserver<byte[]> call, List<byte[]> messages) {
    messages.forEach(call::onNext);
    call.onCompleted();
  }

  private int ended() {
    return Integer.parseInt(text(unary("Ended", NOTHING)));
  }

  private void awaitEnd(int before) throws InterruptedException {
    for (int turn = 0; turn < 500; turn++) {
      if (ended() > before) {
        return;
      }
      Thread.sleep(10);
    }
    throw new Mismatch("the server never saw the call end");
  }

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }

  private static byte[] pattern(int size) {
    byte[] made = new byte[size];
    for (int place = 0; place < size; place++) {
      made[place] = (byte) (place % 251);
    }
    return made;
  }

  private static void expect(Object expected, Object actual) {
    if (!expected.equals(actual)) {
      throw new Mismatch("expected " + expected + ", got " + actual);
    }
  }

  private static void same(byte[] expected, byte[] actual) {
    if (!Arrays.equals(expected, actual)) {
      throw new Mismatch("the bytes differ");
    }
  }

  private static void same(List<byte[]> expected, List<byte[]> actual) {
    expect(expected.size(), actual.size());
    for (int place = 0; place < expected.size(); place++) {
      same(expected.get(place), actual.get(place));
    }
  }

  private void serverStream() throws InterruptedException {
    same(Collections.nCopies(5, pattern(10)), repeat("5 10").rest());
  }

  private void clientStream() throws InterruptedException {
    expect("abc", text(gather("Join", List.of(bytes("a"), bytes("b"), bytes("c")))));
  }

  private void bidiStream() throws InterruptedException {
    Answers answers = new Answers();
    StreamObserver<byte[]> call = converse(channel, answers);
    for (int number = 0; number < 5; number++) {
      call.onNext(bytes(String.valueOf(number)));
      expect(String.valueOf(number), text(answers.next()));
    }
    call.onCompleted();
    expect(0, answers.rest().size());
  }

  private void noMessages() throws InterruptedException {
    same(NOTHING, gather("Join", List.of()));
    expect(0, repeat("0 0").rest().size());
  }

  private void error() {
    byte[] wrong = bytes(WRONG);
    byte[] details = new byte[wrong.length + 4];
    System.arraycopy(new byte[] {0x08, 0x09, 0x12, (byte) wrong.length}, 0, details, 0, 4);
    System.arraycopy(wrong, 0, details, 4, wrong.length);
    StatusRuntimeException error = failure("Fail", details, limit());
    expect(Status.Code.FAILED_PRECONDITION, error.getStatus().getCode());
    expect(WRONG, error.getStatus().getDescription());
    same(details, error.getTrailers().get(DETAILS));
  }

  private void errorAfterMessages() throws InterruptedException {
    Answers answers = repeat("2 10 10");
    same(List.of(pattern(10), pattern(10)), List.of(answers.next(), answers.next()));
    try {
      answers.next();
    } catch (StatusRuntimeException error) {
      expect(Status.Code.ABORTED, error.getStatus().getCode());
      expect(WRONG, error.getStatus().getDescription());
      return;
    }
    throw new Mismatch("it did not fail");
  }

  private void unknownMethod() {
    expect(Status.Code.UNIMPLEMENTED, failure("Nope", NOTHING, limit()).getStatus().getCode());
  }

  private void deadline() throws InterruptedException {
    int before = ended();
    CallOptions brief = CallOptions.DEFAULT.withDeadlineAfter(200, TimeUnit.MILLISECONDS);
    expect(Status.Code.DEADLINE_EXCEEDED, failure("Hang", NOTHING, brief).getStatus().getCode());
    awaitEnd(before);
  }

  private void cancelUnary() throws InterruptedException {
    int before = ended();
    var call = channel.newCall(method("Hang", MethodType.UNARY), limit());
    Future<byte[]> answer = ClientCalls.futureUnaryCall(call, NOTHING);
    Thread.sleep(100);
    expect(true, answer.cancel(true));
    awaitEnd(before);
  }

  private void cancelStream() throws InterruptedException {
    int before = ended();
    Answers answers = repeat("1000000 1000");
    same(pattern(1000), answers.next());
    answers.call.cancel("no more", null);
    awaitEnd(before);
  }

  private void metadata() throws InterruptedException {
    byte[] binary = {0x00, (byte) 0xff, 0x01, (byte) 0xfe, 0x2c, 0x0a};
    Metadata sent = new Metadata();
    for (String prefix : List.of("x-echo-", "x-trail-")) {
      sent.put(ascii(prefix + "text"), "words, and more");
      sent.put(ascii(prefix + "twice"), "1");
      sent.put(ascii(prefix + "twice"), "2");
      sent.put(Metadata.Key.of(prefix + "data-bin", Metadata.BINARY_BYTE_MARSHALLER), binary);
    }
    var headers = new AtomicReference<Metadata>();
    var trailers = new AtomicReference<Metadata>();
    Channel dressed =
        ClientInterceptors.intercept(
            channel,
            MetadataUtils.newAttachHeadersInterceptor(sent),
            MetadataUtils.newCaptureMetadataInterceptor(headers, trailers));
    Answers answers = new Answers();
    send(converse(dressed, answers), List.of(bytes("m")));
    expect(1, answers.rest().size());
    for (var heard : Map.of("x-echo-", headers.get(), "x-trail-", trailers.get()).entrySet()) {
      List<String> twice = new ArrayList<>();
      heard.getValue().getAll(ascii(heard.getKey() + "twice")).forEach(twice::add);
      expect(List.of("1", "2"), twice);
      expect("words, and more", heard.getValue().get(ascii(heard.getKey() + "text")));
      same(
          binary,
          heard.getValue().get(Metadata.Key.of(heard.getKey() + "data-bin", Metadata.BINARY_BYTE_MARSHALLER)));
    }
  }

  private static Metadata.Key<String> ascii(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  private void largeMessage() {
    byte[] message = pattern(3 << 20);
    same(message, unary("Echo", message));
  }

  private void largeUpload() throws InterruptedException {
    expect("64 8388608", text(gather("Count", Collections.nCopies(64, pattern(128 << 10)))));
  }

  private void slowReader() throws InterruptedException {
    Answers answers = repeat("200 65536");
    byte[] expected = pattern(65536);
    same(expected, answers.next());
    Thread.sleep(300);
    same(Collections.nCopies(199, expected), answers.rest());
  }

  private void largeConversation() throws InterruptedException {
    List<byte[]> messages = Collections.nCopies(64, pattern(128 << 10));
    Answers answers = new Answers();
    send(converse(channel, answers), messages);
    same(messages, answers.rest());
  }

  private void manyCalls() throws Exception {
    ExecutorService callers = Executors.newFixedThreadPool(100);
    try {
      List<Future<?>> done = new ArrayList<>();
      for (int caller = 0; caller < 100; caller++) {
        String name = caller + "/";
        done.add(
            callers.submit(
                () -> {
                  for (int turn = 0; turn < 5; turn++) {
                    expect(name + turn, text(unary("Echo", bytes(name + turn))));
                  }
                }));
      }
      for (Future<?> one : done) {
        one.get(STEP_SECONDS, TimeUnit.SECONDS);
      }
    } finally {
      callers.shutdownNow();
    }
  }

  private void compression() {
    Metadata wish = new Metadata();
    wish.put(ascii("x-compress"), "yes");
    Channel wishing = ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(wish));
    byte[] message = new byte[100_000];
    same(message, new Client(wishing).unary("Echo", message, limit().withCompression("gzip")));
  }

  private Map<String, Step> steps() {
    Map<String, Step> steps = new LinkedHashMap<>();
    steps.put("unary", () -> expect("hello", text(unary("Echo", bytes("hello")))));
    steps.put("empty-message", () -> same(NOTHING, unary("Echo", NOTHING)));
    steps.put("server-stream", this::serverStream);
    steps.put("client-stream", this::clientStream);
    steps.put("bidi-stream", this::bidiStream);
    steps.put("no-messages", this::noMessages);
    steps.put("error", this::error);
    steps.put("error-after-messages", this::errorAfterMessages);
    steps.put("unknown-method", this::unknownMethod);
    steps.put("deadline", this::deadline);
    steps.put("cancel-unary", this::cancelUnary);
    steps.put("cancel-stream", this::cancelStream);
    steps.put("metadata", this::metadata);
    steps.put("large-message", this::largeMessage);
    steps.put("large-upload", this::largeUpload);
    steps.put("slow-reader", this::slowReader);
    steps.put("large-conversation", this::largeConversation);
    steps.put("many-calls", this::manyCalls);
    steps.put("compression", this::compression);
    return steps;
  }

  public static void main(String[] arguments) {
    String target = arguments[0];
    EpollEventLoopGroup loops = new EpollEventLoopGroup(1);
    NettyChannelBuilder builder;
    if (target.startsWith("unix:")) {
      builder =
          NettyChannelBuilder.forAddress(new DomainSocketAddress(target.substring("unix:".length())))
              .eventLoopGroup(loops)
              .channelType(EpollDomainSocketChannel.class);
    } else {
      builder = NettyChannelBuilder.forTarget(target);
    }
    ManagedChannel channel = builder.usePlaintext().maxInboundMessageSize(Integer.MAX_VALUE).build();
    boolean failed = false;
    for (Map.Entry<String, Step> step : new Client(channel).steps().entrySet()) {
      try {
        step.getValue().make();
        System.out.println("ok " + step.getKey());
      } catch (Exception error) {
        failed = true;
        System.out.println("FAIL " + step.getKey() + ": " + error);
      }
    }
    channel.shutdownNow();
    loops.shutdownGracefully();
    System.exit(failed ? 1 : 0);
  }
}
