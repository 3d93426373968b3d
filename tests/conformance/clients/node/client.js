// The common plan of calls, made by @grpc/grpc-js; one line is printed for each step.
//
// Usage: node client.js TARGET, where TARGET is `host:port` or `unix:/path`.
"use strict";

const assert = require("node:assert/strict");
const { once } = require("node:events");
const { setTimeout: sleep } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");

const STEP_MS = 30_000;
const WRONG = "what is wrong: ü, 100 %";
const target = process.argv[2];
const GZIP = 2;

// Messages are bytes: nothing is generated.
const asIs = (message) => message;

function connect(options = {}) {
  return new grpc.Client(target, grpc.credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
    ...options,
  });
}

const client = connect();
const path = (method) => `/conformance.Plan/${method}`;
const limit = () => ({ deadline: Date.now() + STEP_MS });

function unary(method, message, { metadata = new grpc.Metadata(), options = limit(), by = client, seen = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const done = (error, answer) => (error ? reject(error) : resolve(answer));
    seen(by.makeUnaryRequest(path(method), asIs, asIs, Buffer.from(message), metadata, options, done));
  });
}

async function gather(method, messages) {
  let call;
  const answer = new Promise((resolve, reject) => {
    const done = (error, message) => (error ? reject(error) : resolve(message));
    call = client.makeClientStreamRequest(path(method), asIs, asIs, new grpc.Metadata(), limit(), done);
  });
  await send(call, messages);
  return answer;
}

function repeat(what) {
  return client.makeServerStreamRequest(path("Repeat"), asIs, asIs, Buffer.from(what), new grpc.Metadata(), limit());
}

function converse(metadata = new grpc.Metadata()) {
  return client.makeBidiStreamRequest(path("Converse"), asIs, asIs, metadata, limit());
}

async function send(call, messages) {
  for (const message of messages) {
    if (!call.write(Buffer.from(message))) await once(call, "drain");
  }
  call.end();
}

function pattern(size) {
  return Buffer.from(Uint8Array.from({ length: size }, (_, place) => place % 251));
}

const same = (expected, actual) => assert.ok(expected.equals(actual), "the bytes differ");

async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

const ended = async () => Number((await unary("Ended", "")).toString());

async function awaitEnd(before) {
  for (let turn = 0; turn < 500; turn++) {
    if ((await ended()) > before) return;
    await sleep(10);
  }
  throw new Error("the server never saw the call end");
}

async function collect(call) {
  const answers = [];
  for await (const answer of call) answers.push(answer);
  return answers;
}

const steps = {
  async "unary"() {
    assert.equal((await unary("Echo", "hello")).toString(), "hello");
  },

  async "empty-message"() {
    assert.equal((await unary("Echo", "")).length, 0);
  },

  async "server-stream"() {
    assert.deepEqual(await collect(repeat("5 10")), Array(5).fill(pattern(10)));
  },

  async "client-stream"() {
    assert.equal((await gather("Join", ["a", "b", "c"])).toString(), "abc");
  },

  async "bidi-stream"() {
    const call = converse();
    const answers = call[Symbol.asyncIterator]();
    for (let number = 0; number < 5; number++) {
      call.write(Buffer.from(String(number)));
      assert.equal((await answers.next()).value.toString(), String(number));
    }
    call.end();
    assert.ok((await answers.next()).done);
  },

  async "no-messages"() {
    assert.equal((await gather("Join", [])).length, 0);
    assert.deepEqual(await collect(repeat("0 0")), []);
  },

  async "error"() {
    const text = Buffer.from(WRONG);
    const details = Buffer.concat([Buffer.from([0x08, 0x09, 0x12, text.length]), text]);
    const error = await failure(unary("Fail", details));
    assert.deepEqual([error.code, error.details], [grpc.status.FAILED_PRECONDITION, WRONG]);
    assert.deepEqual(error.metadata.get("grpc-status-details-bin"), [details]);
  },

  async "error-after-messages"() {
    const answers = [];
    const error = await failure(
      (async () => {
        for await (const answer of repeat("2 10 10")) answers.push(answer);
      })(),
    );
    assert.deepEqual(answers, [pattern(10), pattern(10)]);
    assert.deepEqual([error.code, error.details], [grpc.status.ABORTED, WRONG]);
  },

  async "unknown-method"() {
    assert.equal((await failure(unary("Nope", ""))).code, grpc.status.UNIMPLEMENTED);
  },

  async "deadline"() {
    const before = await ended();
    const error = await failure(unary("Hang", "", { options: { deadline: Date.now() + 200 } }));
    assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
    await awaitEnd(before);
  },

  async "cancel-unary"() {
    const before = await ended();
    const seen = (call) => setTimeout(() => call.cancel(), 100);
    assert.equal((await failure(unary("Hang", "", { seen }))).code, grpc.status.CANCELLED);
    await awaitEnd(before);
  },

  async "cancel-stream"() {
    const before = await ended();
    const call = repeat("1000000 1000");
    const failed = once(call, "error");
    const [answer] = await once(call, "data");
    same(pattern(1000), answer);
    call.cancel();
    assert.equal((await failed)[0].code, grpc.status.CANCELLED);
    await awaitEnd(before);
  },

  async "metadata"() {
    const values = { text: ["words, and more"], twice: ["1", "2"], "data-bin": [Buffer.from([0, 255, 1, 254, 44, 10])] };
    const sent = new grpc.Metadata();
    for (const prefix of ["x-echo", "x-trail"]) {
      for (const [name, all] of Object.entries(values)) {
        for (const value of all) sent.add(`${prefix}-${name}`, value);
      }
    }
    const call = converse(sent);
    const [headers, status] = [once(call, "metadata"), once(call, "status")];
    await send(call, ["m"]);
    await collect(call);
    // Node's HTTP/2 joins the values of a name (RFC 9110, section 5.3), those of -bin names aside.
    const plain = (metadata, name) => metadata.get(name).flatMap((value) => (name.endsWith("twice") ? value.split(", ") : value));
    for (const [prefix, metadata] of [["x-echo", (await headers)[0]], ["x-trail", (await status)[0].metadata]]) {
      for (const [name, all] of Object.entries(values)) assert.deepEqual(plain(metadata, `${prefix}-${name}`), all);
    }
  },

  async "large-message"() {
    const message = pattern(3 << 20);
    same(message, await unary("Echo", message));
  },

  async "large-upload"() {
    assert.equal((await gather("Count", Array(64).fill(pattern(128 << 10)))).toString(), "64 8388608");
  },

  async "slow-reader"() {
    const expected = pattern(65536);
    let count = 0;
    for await (const answer of repeat("200 65536")) {
      same(expected, answer);
      if (count++ === 0) await sleep(300);
    }
    assert.equal(count, 200);
  },

  async "large-conversation"() {
    const message = pattern(128 << 10);
    const call = converse();
    const [answers] = await Promise.all([collect(call), send(call, Array(64).fill(message))]);
    assert.equal(answers.length, 64);
    answers.forEach((answer) => same(message, answer));
  },

  async "many-calls"() {
    const turns = async (caller) => {
      for (let turn = 0; turn < 5; turn++) {
        assert.equal((await unary("Echo", `${caller}/${turn}`)).toString(), `${caller}/${turn}`);
      }
    };
    await Promise.all(Array.from({ length: 100 }, (_, caller) => turns(caller)));
  },

  async "compression"() {
    const by = connect({ "grpc.default_compression_algorithm": GZIP });
    const metadata = new grpc.Metadata();
    metadata.set("x-compress", "yes");
    const message = Buffer.alloc(100_000);
    same(message, await unary("Echo", message, { metadata, by }));
    by.close();
  },
};

async function main() {
  let failed = 0;
  for (const [name, step] of Object.entries(steps)) {
    const late = new AbortController();
    try {
      await Promise.race([
        step(),
        sleep(STEP_MS, undefined, { signal: late.signal, ref: false }).then(() => assert.fail("it took too long")),
      ]);
      console.log(`ok ${name}`);
    } catch (error) {
      failed = 1;
      console.log(`FAIL ${name}: ${String(error.stack ?? error).slice(0, 500).replaceAll("\n", " ")}`);
    } finally {
      late.abort();
    }
  }
  client.close();
  process.exitCode = failed;
}

main();
