"""daprd, whose state API reads and writes Redis: metrics off, tracing off, on the store that the sidecar uses."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.peers.messages import Api, Field, Method
from bench.processes import Server, free_port
from bench.profiles import ALONE, CROWD, VALUE, Load, Profile, Request
from bench.targets import Target, accepts

if TYPE_CHECKING:
    from contextlib import ExitStack

_STORE = "bench"
_KEY = "bench-get"
_API = Api(
    "dapr.proto.runtime.v1",
    "Dapr",
    messages={
        "GetStateRequest": [Field("store_name", 1, "string"), Field("key", 2, "string")],
        "GetStateResponse": [Field("data", 1, "bytes"), Field("etag", 2, "string")],
        "StateItem": [Field("key", 1, "string"), Field("value", 2, "bytes")],
        "SaveStateRequest": [Field("store_name", 1, "string"), Field("states", 2, "StateItem", repeated=True)],
        "Nothing": [],
    },
    methods=[
        Method("GetState", "GetStateRequest", "GetStateResponse"),
        Method("SaveState", "SaveStateRequest", "Nothing"),
    ],
)
_SERVICE = "dapr.proto.runtime.v1.Dapr"


def get_state(load: Load) -> Profile:
    """Return the call that stands against the sidecar's Get: it reads back the state that was saved before."""
    name = {CROWD: "get_state", ALONE: "get_state_alone"}[load]
    saved = _API.make("SaveStateRequest", store_name=_STORE, states=[{"key": _KEY, "value": VALUE}])
    return Profile(
        name=name,
        title="GetState",
        request=Request(f"{_SERVICE}/GetState", _API.make("GetStateRequest", store_name=_STORE, key=_KEY)),
        works=_is_value,
        seeds=(Request(f"{_SERVICE}/SaveState", saved),),
        load=load,
    )


def start_daprd(stack: ExitStack, folder: Path, program: Path, redis_port: int) -> Target:
    """Start daprd with a Redis state store, and without everything that costs it time and is not asked for."""
    own = Path(tempfile.mkdtemp(prefix="daprd-", dir=folder))
    resources, configuration = own / "resources", own / "configuration.yaml"
    resources.mkdir()
    # Both files are YAML, of which JSON is a part.
    configuration.write_text(
        _resource("Configuration", "bench", {"tracing": {"samplingRate": "0"}, "metrics": {"enabled": False}}),
        encoding="utf-8",
    )
    settings = {"redisHost": f"127.0.0.1:{redis_port}", "redisPassword": "", "keyPrefix": "none"}
    (resources / "state.yaml").write_text(
        _resource(
            "Component",
            _STORE,
            {
                "type": "state.redis",
                "version": "v1",
                "metadata": [{"name": name, "value": value} for name, value in settings.items()],
            },
        ),
        encoding="utf-8",
    )
    port = free_port()
    command = [
        str(program),
        *("--app-id", "bench"),
        *("--resources-path", str(resources), "--config", str(configuration)),
        *("--dapr-grpc-port", str(port), "--dapr-http-port", str(free_port())),
        *("--dapr-internal-grpc-port", str(free_port())),
        *("--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1"),
        *("--enable-metrics=false", "--log-level", "error"),
    ]
    address = f"127.0.0.1:{port}"
    server = Server("daprd", command, log=own / "log", is_ready=accepts(address))
    return Target(stack.enter_context(server), address)


def _resource(kind: str, name: str, spec: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "dapr.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def _is_value(answer: Any) -> bool:
    return bytes(answer.data) == VALUE
