"""`python -m sidecar_client`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
import sidecar_client
from google.protobuf import duration_pb2, timestamp_pb2
from grpc_reflection.v1alpha import reflection
from played_sidecar import Refusal
from sidecar_client.commandline import main, make_parser, run
from sidecar_client.gen.sidecar.v1 import cache_pb2, common_pb2, rate_limit_pb2, record_pb2

if TYPE_CHECKING:
    from played_sidecar import Play


async def lines(play: Play, *arguments: str) -> list[str]:
    """Return what a command prints."""
    return await run(make_parser().parse_args(["--address", play.address, *arguments]))


async def test_get_prints_the_facts_and_the_value(play: Play) -> None:
    """The first line tells about the entry, the second is it."""
    play.answer(
        cache_pb2.GetResponse(
            outcome=common_pb2.OUTCOME_HIT,
            value=b"12.50",
            version=2,
            ttl=duration_pb2.Duration(seconds=30),
            age=duration_pb2.Duration(nanos=100_000_000),
        )
    )
    assert await lines(play, "get", "balances", "account:7") == ["HIT  version 2  ttl 30.0 s  age 0.1 s", "12.50"]


async def test_get_prints_a_miss(play: Play) -> None:
    """A miss has nothing more to say."""
    play.answer(cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_MISS))
    assert await lines(play, "get", "balances", "account:7") == ["MISS"]


@pytest.mark.parametrize(("value", "expected"), [(b"\x1b[2J", r"'\x1b[2J'"), (b"\xff\x00", r"b'\xff\x00'")])
async def test_a_value_cannot_steer_the_terminal(play: Play, value: bytes, expected: str) -> None:
    """Control characters and other bytes are escaped."""
    play.answer(cache_pb2.GetResponse(outcome=common_pb2.OUTCOME_HIT, value=value))
    assert expected == (await lines(play, "get", "balances", "k"))[1]


async def test_set_sends_value_and_ttl(play: Play) -> None:
    """And prints what was done."""
    play.answer(
        cache_pb2.SetResponse(
            outcome=common_pb2.WRITE_OUTCOME_APPLIED, version=1, ttl=duration_pb2.Duration(seconds=20)
        )
    )
    printed = await lines(play, "set", "balances", "k", "v", "--ttl", "20")
    assert printed == ["APPLIED  version 1  ttl 20.0 s"]
    assert duration_pb2.Duration(seconds=20) == play.received[0].request.ttl


async def test_record_prints_a_field_a_line(play: Play) -> None:
    """Sorted by name and aligned."""
    play.answer(
        record_pb2.GetRecordResponse(
            outcome=common_pb2.OUTCOME_HIT,
            version=1,
            fields={
                "name": record_pb2.FieldValue(text="Ada"),
                "age": record_pb2.FieldValue(integer=36),
                "insured": record_pb2.FieldValue(boolean=True),
            },
        )
    )
    assert await lines(play, "record", "patients", "p") == [
        "HIT  version 1",
        "  age      36",
        "  insured  true",
        "  name     Ada",
    ]


async def test_put_record_sends_text_fields(play: Play) -> None:
    """A value may hold an equals sign itself."""
    play.answer(record_pb2.PutRecordResponse(outcome=common_pb2.WRITE_OUTCOME_APPLIED, version=1))
    await lines(play, "put-record", "patients", "p", "name=Ada", "notes=a=b")
    expected = {"name": record_pb2.FieldValue(text="Ada"), "notes": record_pb2.FieldValue(text="a=b")}
    assert expected == dict(play.received[0].request.fields)


async def test_check_prints_the_decision(play: Play) -> None:
    """Allowed: what is left. Refused: when to come again."""
    play.answer(
        rate_limit_pb2.CheckResponse(allowed=True, limit=10, remaining=9, reset_after=duration_pb2.Duration(seconds=6)),
        rate_limit_pb2.CheckResponse(limit=10, retry_after=duration_pb2.Duration(seconds=54)),
    )
    assert await lines(play, "check", "auth", "ada") == ["ALLOWED  limit 10  remaining 9  reset_after 6.0 s"]
    assert await lines(play, "check", "auth", "ada", "--cost", "2") == [
        "REFUSED  limit 10  remaining 0  retry_after 54.0 s"
    ]
    assert [call.request.cost for call in play.received] == [1, 2]


async def test_check_names_a_tier(play: Play) -> None:
    """If there is one."""
    play.answer(rate_limit_pb2.CheckResponse(allowed=True))
    await lines(play, "check", "auth", "ada", "--tier", "pro")
    assert "pro" == play.received[0].request.tier


async def test_explain_prints_why(play: Play) -> None:
    """What decides, how the limits stand, and what would become of costs."""
    steady = rate_limit_pb2.LimitState(limit=rate_limit_pb2.LimitDescription(name="steady"), words="Three are left.")
    refused = rate_limit_pb2.CostOutcome(cost=10, retry_after=duration_pb2.Duration(seconds=7))
    play.answer(
        rate_limit_pb2.ExplainResponse(
            policy=rate_limit_pb2.PolicyDescription(name="api", version="7f"),
            decided_by=rate_limit_pb2.DECIDED_BY_TIER_LIMITS,
            tier="pro",
            limits=[steady],
            outcomes=[rate_limit_pb2.CostOutcome(cost=1, allowed=True), refused],
        ),
        rate_limit_pb2.ExplainResponse(
            policy=rate_limit_pb2.PolicyDescription(name="api", version="7f"),
            decided_by=rate_limit_pb2.DECIDED_BY_DENIED_KEY,
            entry="a\x1b*",
        ),
    )
    assert [
        "TIER_LIMITS  policy api  version 7f  tier pro",
        "  steady: Three are left.",
        "  ALLOWED  cost 1",
        "  REFUSED  cost 10  retry_after 7.0 s",
    ] == await lines(play, "explain", "api", "ada", "--tier", "pro")
    assert [r"DENIED_KEY  policy api  version 7f  entry 'a\x1b*'"] == await lines(play, "explain", "api", "ada")


async def test_report_prints_whom_a_limit_refuses(play: Play) -> None:
    """And whom its candidate would, if it has one."""
    then = timestamp_pb2.Timestamp(seconds=1_800_000_000)
    answer = rate_limit_pb2.ReportLimitsResponse(
        processes=2,
        age=duration_pb2.Duration(seconds=3),
        since=then,
        refused=9,
        keys=[rate_limit_pb2.RefusedKey(key="ada", refused=7, excess=1), rate_limit_pb2.RefusedKey(key="b", refused=2)],
    )
    tried = rate_limit_pb2.CandidateReport(
        since=then,
        processes=2,
        both_allowed=5,
        only_candidate_refused=1,
        sample=[rate_limit_pb2.CandidateRefusal(key="c", time=then)],
    )
    play.answer(answer, rate_limit_pb2.ReportLimitsResponse(since=then, candidate=tried))
    compared = "both_allowed 5  both_refused 0  only_candidate_refused 1"
    assert [
        "REFUSED  calls 9  since 2027-01-15T08:00:00+00:00  processes 2  age 3.0 s",
        "  ada  refused 7  excess 1",
        "  b  refused 2",
    ] == await lines(play, "report", "api")
    assert [
        "REFUSED  calls 0  since 2027-01-15T08:00:00+00:00  processes 0  age 0.0 s",
        f"CANDIDATE  since 2027-01-15T08:00:00+00:00  {compared}  only_live_refused 0  unanswered 0",
        "  c  2027-01-15T08:00:00+00:00",
    ] == await lines(play, "report", "api")


async def test_list_prints_the_services() -> None:
    """By reflection, of whichever version the server has."""
    server = grpc.aio.server()
    reflection.enable_server_reflection(["sidecar.v1.CacheService", reflection.SERVICE_NAME], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    printed = await run(make_parser().parse_args(["--address", f"127.0.0.1:{port}", "list"]))
    await server.stop(None)
    assert printed == ["grpc.reflection.v1alpha.ServerReflection", "sidecar.v1.CacheService"]


async def test_an_error_is_one_line_and_exit_code_1(play: Play) -> None:
    """As a process, with the reason, the field and nothing on standard output."""
    play.answer(
        Refusal(code=grpc.StatusCode.INVALID_ARGUMENT, reason="KEY_EMPTY", message="the key\nis empty", violated="key")
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar_client", "--address", play.address, "get", "balances", ""),
        cwd=Path(sidecar_client.__file__).parents[1],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, complaint = await process.communicate()
    assert (process.returncode, output, complaint) == (1, b"", b"error: KEY_EMPTY: the key is empty (field key)\n")


def test_a_wrong_address_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    """What never reached a sidecar is reported alike."""
    assert main(["--address", "nowhere", "get", "balances", "k"]) == 1
    assert capsys.readouterr().err == "error: the address 'nowhere' is neither 'host:port' nor 'unix:/path'\n"


@pytest.mark.parametrize("field", ["name", "=Ada"])
def test_a_field_needs_name_and_value(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is sent."""
    with pytest.raises(SystemExit):
        main(["put-record", "patients", "p", field])
    assert "is not NAME=VALUE" in capsys.readouterr().err
