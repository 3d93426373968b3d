"""gRPC's own interop client, in Go, makes its cases.

Left out are the cases that need what no plaintext server has or is: credentials (`compute_engine_creds`,
`service_account_creds`, `jwt_token_creds`, `per_rpc_creds`, `oauth2_auth_token`, `google_default_credentials`,
`compute_engine_channel_credentials`). The client has no cases of compression; test_connect_suite.py covers that.
"""

from __future__ import annotations

import pytest
from conformance import toolbox
from conformance.interop_service import InteropService
from conformance.running import run, serving

CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "pick_first_unary",
    "rpc_soak",
    "channel_soak",
    "orca_per_rpc",
    "orca_oob",
)
# The balancer that hears load reports (grpc/doc/interop-test-descriptions.md, "orca_per_rpc").
ORCA = '--service_config_json={"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}'
CASE_SECONDS = 60


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("case", CASES)
async def test_the_case_passes(engine: str, case: str) -> None:
    """The client ends well."""
    client = toolbox.interop_client()
    async with serving(engine, InteropService().table()) as address:
        host, _, port = address.rpartition(":")
        command = [str(client), f"--server_host={host}", f"--server_port={port}", f"--test_case={case}"]
        if case.startswith("orca"):
            command.append(ORCA)
        done = await run(command, CASE_SECONDS)
    assert done.code == 0, done.output
