"""The edge: who may call, what errors become on the wire, what is counted. A real server and a real channel."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from typer.testing import CliRunner

from serving import errors
from serving.cli.keys import app as keys_app
from serving.frontdoor.edge.auth import Keys
from serving.frontdoor.edge.metrics import PrometheusRecorder
from serving.gen.longtake.v1 import files_pb2
from tests.unit.serving.frontdoor.edge.answering import Answering, detail, new_key, refusal, serving

pytestmark = pytest.mark.anyio


WANT_CODES = [
    (errors.InvalidArgument("seconds", "too many"), grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound("no such video"), grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists("another request"), grpc.StatusCode.ALREADY_EXISTS),
    (errors.FailedPrecondition("not finished"), grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Unauthenticated("no key"), grpc.StatusCode.UNAUTHENTICATED),
    (errors.PermissionDenied("not yours"), grpc.StatusCode.PERMISSION_DENIED),
    (errors.Unimplemented("not offered"), grpc.StatusCode.UNIMPLEMENTED),
    (errors.ResourceExhausted("full", retry_after_s=3), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable("draining", retry_after_s=1.5), grpc.StatusCode.UNAVAILABLE),
    (errors.StoreUnfit("no store"), grpc.StatusCode.UNAVAILABLE),
    (errors.Corrupt("other bytes"), grpc.StatusCode.DATA_LOSS),
    (errors.EngineMissing("build it"), grpc.StatusCode.FAILED_PRECONDITION),
]


@pytest.mark.parametrize(("error", "code"), WANT_CODES, ids=lambda value: type(value).__name__)
async def test_every_error_has_its_status_and_its_reason(error: errors.LongtakeError, code: grpc.StatusCode) -> None:
    async with serving(Answering(error)) as stub:
        caught = await refusal(stub)

    assert caught.code() is code
    assert caught.details() == error.message
    info = detail(caught, error_details_pb2.ErrorInfo)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (error.reason, "longtake.dev")


async def test_a_wrong_field_is_named() -> None:
    async with serving(Answering(errors.InvalidArgument("duration", "99: 1 to 15"))) as stub:
        caught = detail(await refusal(stub), error_details_pb2.BadRequest)

    assert isinstance(caught, error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in caught.field_violations] == [("duration", "99: 1 to 15")]


async def test_a_bound_says_when_to_come_back() -> None:
    async with serving(Answering(errors.ResourceExhausted("full", retry_after_s=2.5))) as stub:
        retry = detail(await refusal(stub), error_details_pb2.RetryInfo)

    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 2500


async def test_an_unexpected_failure_leaks_nothing_but_its_incident(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving(Answering(RuntimeError("the secret is 42"))) as stub:
        caught = await refusal(stub)

    assert caught.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught)
    info = detail(caught, error_details_pb2.ErrorInfo)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.metadata["incident"] in str(caught.details())
    logged = capsys.readouterr()
    assert info.metadata["incident"] in logged.out + logged.err
    assert "the secret is 42" in logged.out + logged.err


async def test_a_stream_gives_what_it_has_before_it_fails() -> None:
    async with serving(Answering(errors.Corrupt("other bytes"))) as stub:
        call = stub.DownloadFile(files_pb2.DownloadFileRequest(id="x"))
        first = await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()

    assert isinstance(first, files_pb2.DownloadFileResponse)
    assert first.data == b"first"
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS


async def test_without_keys_everyone_is_the_default_tenant() -> None:
    async with serving(Answering()) as stub:
        answer = await stub.GetFile(files_pb2.GetFileRequest(id="x"))

    assert answer.filename == "default"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "keys.jsonl"
    return path, new_key(path)


async def test_a_key_decides_the_tenant(keys: tuple[Path, str]) -> None:
    path, key = keys
    assert key not in path.read_text()
    async with serving(Answering(), keys=path) as stub:
        request = files_pb2.GetFileRequest(id="x")
        answer = await stub.GetFile(request, metadata=(("authorization", f"Bearer {key}"),))

    assert answer.filename == "studio"


@pytest.mark.parametrize(
    ("header", "reason"),
    [("", "API_KEY_MISSING"), ("Basic abc", "API_KEY_MALFORMED"), ("Bearer lt-wrong", "API_KEY_UNKNOWN")],
)
async def test_calls_without_a_known_key_are_refused(keys: tuple[Path, str], header: str, reason: str) -> None:
    async with serving(Answering(), keys=keys[0]) as stub:
        caught = await refusal(stub, **({"authorization": header} if header else {}))

    assert caught.code() is grpc.StatusCode.UNAUTHENTICATED
    info = detail(caught, error_details_pb2.ErrorInfo)
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.reason == reason


async def test_an_upload_without_a_key_over_plaintext_is_told_of_tls(keys: tuple[Path, str]) -> None:
    async with serving(Answering(), keys=keys[0]) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UploadFile(iter([files_pb2.UploadFileRequest(data=b"x")]))

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "TLS" in str(caught.value.details())


async def test_a_key_that_was_just_added_works_and_a_removed_one_stops(keys: tuple[Path, str]) -> None:
    path, first = keys
    known = Keys(path)
    second = CliRunner().invoke(keys_app, ["add", "phone", "--file", str(path)]).stdout.splitlines()[0]
    assert known.caller(f"Bearer {second}").name == "phone"

    gone = known.caller(f"Bearer {first}").api_key_id
    assert CliRunner().invoke(keys_app, ["rm", gone, "--file", str(path)]).exit_code == 0
    known.refresh()
    with pytest.raises(errors.Unauthenticated):
        known.caller(f"Bearer {first}")


RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


async def test_a_client_that_resends_a_call_is_noticed() -> None:
    implementation = Answering(errors.Unavailable("once more"))
    async with serving(implementation, channel_options=(("grpc.service_config", RETRIES),)) as stub:
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetFile(files_pb2.GetFileRequest(id="x"))

    assert [call.resent for call in implementation.calls] == [False, True, True]


async def test_an_http_clients_retry_count_is_noticed() -> None:
    implementation = Answering()
    async with serving(implementation) as stub:
        for count in ("0", "2"):
            request = files_pb2.GetFileRequest(id="x")
            await stub.GetFile(request, metadata=(("x-stainless-retry-count", count),))

    assert [call.resent for call in implementation.calls] == [False, True]


async def test_calls_are_counted_by_method_and_status() -> None:
    metrics = PrometheusRecorder()
    implementation = Answering()
    async with serving(implementation, metrics=metrics) as stub:
        await stub.GetFile(files_pb2.GetFileRequest(id="x"))
        implementation.error = errors.NotFound("no")
        await refusal(stub)

    text = metrics.render().decode()
    assert 'longtake_rpc_handled_total{code="OK",method="/longtake.v1.Files/GetFile"} 1.0' in text
    assert 'longtake_rpc_handled_total{code="NOT_FOUND",method="/longtake.v1.Files/GetFile"} 1.0' in text
