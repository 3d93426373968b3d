//! The common plan of calls, made by tonic; one line is printed for each step.
//!
//! Usage: conformance-client TARGET, where TARGET is `host:port` or `unix:/path`.

use std::future::Future;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio::time::{sleep, timeout};
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const STEP_TIME: Duration = Duration::from_secs(30);
const WRONG: &str = "what is wrong: ü, 100 %";

type Outcome = Result<(), String>;

/// Messages are bytes: nothing is generated.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let size = source.remaining();
        Ok(Some(source.copy_to_bytes(size)))
    }
}

fn path(method: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/conformance.Plan/{method}")).expect("a method's name")
}

fn expect<T: PartialEq + std::fmt::Debug>(expected: T, actual: T) -> Outcome {
    if expected == actual {
        return Ok(());
    }
    let mut text = format!("expected {expected:?}, got {actual:?}");
    text.truncate(500);
    Err(text)
}

fn told(status: Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn pattern(size: usize) -> Bytes {
    (0..size).map(|place| (place % 251) as u8).collect::<Vec<u8>>().into()
}

#[derive(Clone)]
struct Client {
    channel: Channel,
}

impl Client {
    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        Ok(grpc)
    }

    async fn unary(&self, method: &str, message: impl Into<Bytes>) -> Result<Bytes, Status> {
        let answer = self.ready().await?.unary(Request::new(message.into()), path(method), Raw).await?;
        Ok(answer.into_inner())
    }

    async fn gather(
        &self,
        method: &str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, Status> {
        let answer = self.ready().await?.client_streaming(Request::new(messages), path(method), Raw).await?;
        Ok(answer.into_inner())
    }

    async fn repeat(&self, what: &str) -> Result<tonic::Streaming<Bytes>, Status> {
        let request = Request::new(Bytes::copy_from_slice(what.as_bytes()));
        let answer = self.ready().await?.server_streaming(request, path("Repeat"), Raw).await?;
        Ok(answer.into_inner())
    }

    async fn ended(&self) -> Result<u64, String> {
        let answer = self.unary("Ended", "").await.map_err(told)?;
        String::from_utf8_lossy(&answer).parse().map_err(|error| format!("{error}"))
    }

    /// Wait until the server has seen more calls end before their time than `before`.
    async fn await_end(&self, before: u64) -> Outcome {
        for _ in 0..500 {
            if self.ended().await? > before {
                return Ok(());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err("the server never saw the call end".into())
    }
}

async fn unary(client: Client) -> Outcome {
    expect(Bytes::from("hello"), client.unary("Echo", "hello").await.map_err(told)?)
}

async fn empty_message(client: Client) -> Outcome {
    expect(Bytes::new(), client.unary("Echo", "").await.map_err(told)?)
}

async fn server_stream(client: Client) -> Outcome {
    let mut answers = client.repeat("5 10").await.map_err(told)?;
    let mut got = Vec::new();
    while let Some(answer) = answers.message().await.map_err(told)? {
        got.push(answer);
    }
    expect(vec![pattern(10); 5], got)
}

async fn client_stream(client: Client) -> Outcome {
    let messages = tokio_stream::iter(["a", "b", "c"].map(Bytes::from));
    expect(Bytes::from("abc"), client.gather("Join", messages).await.map_err(told)?)
}

async fn bidi_stream(client: Client) -> Outcome {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    sender.send("0".into()).await.map_err(|error| error.to_string())?;
    let mut grpc = client.ready().await.map_err(told)?;
    let mut answers = grpc.streaming(Request::new(messages), path("Converse"), Raw).await.map_err(told)?.into_inner();
    for number in 1..=5 {
        let answer = answers.message().await.map_err(told)?;
        expect(Some(Bytes::from((number - 1).to_string())), answer)?;
        if number < 5 {
            sender.send(number.to_string().into()).await.map_err(|error| error.to_string())?;
        }
    }
    drop(sender);
    expect(None, answers.message().await.map_err(told)?)
}

async fn no_messages(client: Client) -> Outcome {
    expect(Bytes::new(), client.gather("Join", tokio_stream::empty()).await.map_err(told)?)?;
    let mut answers = client.repeat("0 0").await.map_err(told)?;
    expect(None, answers.message().await.map_err(told)?)
}

async fn error(client: Client) -> Outcome {
    let mut details = vec![0x08, 0x09, 0x12, WRONG.len() as u8];
    details.extend_from_slice(WRONG.as_bytes());
    let status = client.unary("Fail", details.clone()).await.err().ok_or("it did not fail")?;
    expect((Code::FailedPrecondition, WRONG), (status.code(), status.message()))?;
    expect(&details[..], status.details())
}

async fn error_after_messages(client: Client) -> Outcome {
    let mut answers = client.repeat("2 10 10").await.map_err(told)?;
    expect(Some(pattern(10)), answers.message().await.map_err(told)?)?;
    expect(Some(pattern(10)), answers.message().await.map_err(told)?)?;
    let status = answers.message().await.err().ok_or("it did not fail")?;
    expect((Code::Aborted, WRONG), (status.code(), status.message()))
}

async fn unknown_method(client: Client) -> Outcome {
    let status = client.unary("Nope", "").await.err().ok_or("it did not fail")?;
    expect(Code::Unimplemented, status.code())
}

async fn deadline(client: Client) -> Outcome {
    let before = client.ended().await?;
    let mut request = Request::new(Bytes::new());
    request.set_timeout(Duration::from_millis(200));
    let mut grpc = client.ready().await.map_err(told)?;
    let status = grpc.unary(request, path("Hang"), Raw).await.err().ok_or("it did not fail")?;
    // What tonic itself says when the time is over before the server's answer is in.
    if (status.code(), status.message()) != (Code::Cancelled, "Timeout expired") {
        expect(Code::DeadlineExceeded, status.code())?;
    }
    client.await_end(before).await
}

async fn cancel_unary(client: Client) -> Outcome {
    let before = client.ended().await?;
    // To drop a call is to cancel it.
    let dropped = timeout(Duration::from_millis(100), client.unary("Hang", "")).await;
    expect(true, dropped.is_err())?;
    client.await_end(before).await
}

async fn cancel_stream(client: Client) -> Outcome {
    let before = client.ended().await?;
    let mut answers = client.repeat("1000000 1000").await.map_err(told)?;
    expect(Some(pattern(1000)), answers.message().await.map_err(told)?)?;
    drop(answers);
    client.await_end(before).await
}

async fn metadata(client: Client) -> Outcome {
    let binary: &[u8] = &[0x00, 0xff, 0x01, 0xfe, 0x2c, 0x0a];
    let mut request = Request::new(tokio_stream::once(Bytes::from("m")));
    let sent = request.metadata_mut();
    for prefix in ["x-echo", "x-trail"] {
        let named = |rest: &str| format!("{prefix}-{rest}");
        let name: tonic::metadata::AsciiMetadataKey = named("text").parse().expect("a name");
        sent.append(name, MetadataValue::from_static("words, and more"));
        let name: tonic::metadata::AsciiMetadataKey = named("twice").parse().expect("a name");
        sent.append(name.clone(), MetadataValue::from_static("1"));
        sent.append(name, MetadataValue::from_static("2"));
        let name: tonic::metadata::BinaryMetadataKey = named("data-bin").parse().expect("a name");
        sent.append_bin(name, MetadataValue::from_bytes(binary));
    }
    let check = |metadata: &MetadataMap, prefix: &str| -> Outcome {
        let named = |rest: &str| format!("{prefix}-{rest}");
        let text: Vec<_> = metadata.get_all(named("text")).iter().map(|value| value.as_bytes().to_vec()).collect();
        expect(vec![b"words, and more".to_vec()], text)?;
        let twice: Vec<_> = metadata.get_all(named("twice")).iter().map(|value| value.as_bytes().to_vec()).collect();
        expect(vec![b"1".to_vec(), b"2".to_vec()], twice)?;
        let data: Vec<_> = metadata
            .get_all_bin(named("data-bin"))
            .iter()
            .map(|value| value.to_bytes().unwrap_or_default().to_vec())
            .collect();
        expect(vec![binary.to_vec()], data)
    };
    let mut grpc = client.ready().await.map_err(told)?;
    let answer = grpc.streaming(request, path("Converse"), Raw).await.map_err(told)?;
    check(answer.metadata(), "x-echo")?;
    let mut answers = answer.into_inner();
    while answers.message().await.map_err(told)?.is_some() {}
    check(&answers.trailers().await.map_err(told)?.unwrap_or_default(), "x-trail")
}

async fn large_message(client: Client) -> Outcome {
    let message = pattern(3 << 20);
    let answer = client.unary("Echo", message.clone()).await.map_err(told)?;
    expect(true, message == answer)
}

async fn large_upload(client: Client) -> Outcome {
    let messages = tokio_stream::iter(vec![pattern(128 << 10); 64]);
    expect(Bytes::from("64 8388608"), client.gather("Count", messages).await.map_err(told)?)
}

async fn slow_reader(client: Client) -> Outcome {
    let mut answers = client.repeat("200 65536").await.map_err(told)?;
    let mut count = 0;
    while let Some(answer) = answers.message().await.map_err(told)? {
        expect(true, pattern(65536) == answer)?;
        if count == 0 {
            sleep(Duration::from_millis(300)).await;
        }
        count += 1;
    }
    expect(200, count)
}

async fn large_conversation(client: Client) -> Outcome {
    let messages = tokio_stream::iter(vec![pattern(128 << 10); 64]);
    let mut grpc = client.ready().await.map_err(told)?;
    let mut answers = grpc.streaming(Request::new(messages), path("Converse"), Raw).await.map_err(told)?.into_inner();
    let mut count = 0;
    while let Some(answer) = answers.next().await {
        expect(true, pattern(128 << 10) == answer.map_err(told)?)?;
        count += 1;
    }
    expect(64, count)
}

async fn many_calls(client: Client) -> Outcome {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..100 {
        let client = client.clone();
        callers.spawn(async move {
            for turn in 0..5 {
                let message = format!("{caller}/{turn}");
                expect(Bytes::from(message.clone()), client.unary("Echo", message).await.map_err(told)?)?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done.map_err(|error| error.to_string())??;
    }
    Ok(())
}

async fn compression(client: Client) -> Outcome {
    let message = Bytes::from(vec![0; 100_000]);
    let mut request = Request::new(message.clone());
    request.metadata_mut().insert("x-compress", MetadataValue::from_static("yes"));
    let grpc = client.ready().await.map_err(told)?;
    let mut grpc = grpc.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    let answer = grpc.unary(request, path("Echo"), Raw).await.map_err(told)?.into_inner();
    expect(true, message == answer)
}

async fn step<F: Future<Output = Outcome>>(name: &str, work: F) -> bool {
    let outcome = timeout(STEP_TIME, work).await.unwrap_or_else(|_| Err("it took too long".into()));
    match outcome {
        Ok(()) => println!("ok {name}"),
        Err(ref error) => println!("FAIL {name}: {error}"),
    }
    outcome.is_ok()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let target = std::env::args().nth(1).expect("usage: conformance-client TARGET");
    let uri = match target.strip_prefix("unix:") {
        Some(path) => format!("unix://{path}"),
        None => format!("http://{target}"),
    };
    let channel = Endpoint::from_shared(uri).expect("an address").connect().await.expect("a server");
    let client = Client { channel };
    macro_rules! run {
        ($($name:ident),*) => {
            [$(step(&stringify!($name).replace('_', "-"), $name(client.clone())).await),*]
        };
    }
    let done = run![
        unary,
        empty_message,
        server_stream,
        client_stream,
        bidi_stream,
        no_messages,
        error,
        error_after_messages,
        unknown_method,
        deadline,
        cancel_unary,
        cancel_stream,
        metadata,
        large_message,
        large_upload,
        slow_reader,
        large_conversation,
        many_calls,
        compression
    ];
    if done.contains(&false) {
        std::process::exit(1);
    }
}
