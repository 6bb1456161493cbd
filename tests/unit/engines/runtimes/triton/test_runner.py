"""An engine on a server: what is asked of it, what is believed of its answers, and what its failures are called."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from engines.errors import EngineAway, EngineError, EngineSilent
from engines.runtimes.base import Arrays, Runner
from engines.runtimes.registry import remote
from engines.runtimes.triton import connection, server
from engines.runtimes.triton import runner as runners
from engines.runtimes.triton.regions import ROUNDED
from engines.spec import ComponentSpec
from tests.servers import free_port
from tests.unit.engines.runtimes.triton.service import NAME, Service, running

INPUTS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "i": np.array([10, 20])}
ANSWER = 2 * INPUTS["x"] + np.array([[10], [20]])


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def address(service: Service) -> Iterator[str]:
    with running(service) as address:
        yield address


def runner_of(doubler: ComponentSpec, address: str, name: str = NAME) -> Runner:
    return remote(doubler, name, address=address, written_by="longtake engines triton-repo --model tiny-1")


@pytest.fixture
def runner(doubler: ComponentSpec, address: str) -> Iterator[Runner]:
    with runner_of(doubler, address) as runner:
        yield runner


@pytest.fixture
def by_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is on another machine, as far as anybody knows."""
    monkeypatch.setattr(runners, "HERE", ())


def test_on_this_machine_inputs_and_outputs_go_by_shared_memory(service: Service, runner: Runner) -> None:
    np.testing.assert_array_equal(runner.infer(INPUTS)["y"], ANSWER)
    assert len(service.regions) == 1
    assert not service.calls[0].raw_input_contents


@pytest.mark.usefixtures("by_message")
def test_elsewhere_they_go_in_messages(service: Service, runner: Runner) -> None:
    np.testing.assert_array_equal(runner.infer(INPUTS)["y"], ANSWER)
    assert service.regions == {}
    assert service.calls[0].raw_input_contents


def test_a_server_behind_a_loopback_address_that_maps_nothing_gets_messages(
    service: Service, doubler: ComponentSpec, address: str
) -> None:
    service.maps = False
    with runner_of(doubler, address) as runner:
        np.testing.assert_array_equal(runner.infer(INPUTS)["y"], ANSWER)
    assert service.calls[0].raw_input_contents


def test_calls_from_many_threads_give_each_its_own_answer(service: Service, runner: Runner) -> None:
    with ThreadPoolExecutor(8) as pool:
        inputs = [{"x": np.full((1, 3), n, np.float32), "i": np.array([n])} for n in range(64)]
        found = list(pool.map(lambda values: runner.infer(values)["y"][0, 0], inputs))
    assert found == [3 * n for n in range(64)]
    assert len(service.regions) <= 8


def test_an_answer_stays_what_it_was_when_the_next_call_uses_the_same_memory(service: Service, runner: Runner) -> None:
    first = runner.infer(INPUTS)["y"]
    runner.infer({"x": np.zeros((2, 3), np.float32), "i": np.array([0, 0])})
    np.testing.assert_array_equal(first, ANSWER)
    assert len(service.regions) == 1


def test_nothing_of_its_memory_is_left_after_deactivate(service: Service, doubler: ComponentSpec, address: str) -> None:
    with runner_of(doubler, address) as runner:
        runner.infer(INPUTS)
        (region,) = service.regions
        assert not Path("/dev/shm", region).exists()  # both have it, and it has no name any more
    assert service.regions == {}


def test_a_server_that_was_started_anew_has_no_region_of_before_and_the_call_goes_on(
    service: Service, runner: Runner
) -> None:
    runner.infer(INPUTS)
    service.regions.clear()
    for _ in range(2):
        np.testing.assert_array_equal(runner.infer(INPUTS)["y"], ANSWER)
    assert len(service.regions) == 1  # the one that was made anew
    assert [bool(call.raw_input_contents) for call in service.calls] == [False, False, True, False]


def test_without_room_for_shared_memory_a_call_goes_by_message(
    service: Service, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    larger: Arrays = {"x": np.ones((4, 3), np.float32), "i": np.arange(4)}
    service.regions.clear()
    for _ in range(2):  # the first finds its region lost, the second makes none
        np.testing.assert_array_equal(runner.infer(larger)["y"], 2 + np.arange(4)[:, None] * np.ones((1, 3)))
    assert service.regions == {}


def test_the_memory_of_a_call_that_failed_is_not_used_again(service: Service, runner: Runner) -> None:
    runner.infer(INPUTS)
    (before,) = service.regions
    service.fails = grpc.StatusCode.INTERNAL, "out of memory"
    with pytest.raises(EngineError, match="out of memory"):
        runner.infer(INPUTS)
    service.fails = None
    runner.infer(INPUTS)
    assert len(service.regions) == 1
    assert before not in service.regions


def test_a_model_that_is_not_there_names_the_command_that_writes_it(doubler: ComponentSpec, address: str) -> None:
    with pytest.raises(EngineAway, match=r"no gone-1 on .*'gone-1' is not found.*longtake engines triton-repo --model"):
        runner_of(doubler, address, "gone-1").activate()


def test_a_server_that_is_not_there_is_away_and_not_wrong(doubler: ComponentSpec) -> None:
    with pytest.raises(EngineAway, match=r"is not there .*start it, or change `engines\.triton`"):
        runner_of(doubler, f"127.0.0.1:{free_port()}").activate()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda face: face.inputs.pop(), r"it takes i INT64 \[-1\], and doubler takes i INT64 \[-1\], x FP32"),
        (lambda face: setattr(face.inputs[0], "datatype", "INT32"), "i INT32"),
        (lambda face: face.inputs[1].shape.__setitem__(1, 4), r"x FP32 \[-1, 4\]"),
        (lambda face: face.outputs[0].shape.__setitem__(0, 2), r"it gives y FP32 \[2, 3\]"),
        (lambda face: face.outputs[0].shape.pop(), r"y FP32 \[-1\]"),
        (lambda face: face.outputs.pop(), "it gives nothing"),
    ],
)
def test_a_model_of_another_face_is_refused_when_it_is_activated(
    service: Service, doubler: ComponentSpec, address: str, change: Callable[[Any], Any], told: str
) -> None:
    change(service.metadata)
    with pytest.raises(EngineError, match=told):
        runner_of(doubler, address).activate()


LIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no output": (lambda answer: answer.outputs.pop(), "answered with nothing"),
    "another name": (lambda answer: setattr(answer.outputs[0], "name", "z"), "answered with nothing"),
    "another type": (lambda answer: setattr(answer.outputs[0], "datatype", "FP64"), "FP64"),
    "another rank": (lambda answer: answer.outputs[0].shape.append(1), r"\[2, 3, 1\]"),
    "more rows": (lambda answer: answer.outputs[0].shape.__setitem__(0, 1 << 40), str(1 << 40)),
    "less than nothing": (lambda answer: answer.outputs[0].shape.__setitem__(0, -2), "-2"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_cannot_be_the_engines_is_refused(service: Service, runner: Runner, lie: str) -> None:
    service.wrong, told = LIES[lie]
    with pytest.raises(EngineError, match=told):
        runner.infer(INPUTS)


@pytest.mark.usefixtures("by_message")
@pytest.mark.parametrize("data", [b"", b"\0" * 23, b"\0" * 25])
def test_an_answer_of_other_bytes_than_its_shape_has_is_refused(service: Service, runner: Runner, data: bytes) -> None:
    service.wrong = lambda answer: answer.raw_output_contents.__setitem__(0, data)
    with pytest.raises(EngineError, match=f"with {len(data)} bytes for y .*not with 24"):
        runner.infer(INPUTS)


def test_a_message_beside_shared_memory_is_refused(service: Service, runner: Runner) -> None:
    service.wrong = lambda answer: answer.raw_output_contents.__setitem__(0, b"\0" * 24)
    with pytest.raises(EngineError, match=r"with 24 bytes for y .*not with 0"):
        runner.infer(INPUTS)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, EngineAway),
        (grpc.StatusCode.NOT_FOUND, EngineAway),
        (grpc.StatusCode.INTERNAL, EngineError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, EngineError),
        (grpc.StatusCode.INVALID_ARGUMENT, ValueError),
    ],
)
def test_each_status_of_a_call_is_one_kind_of_error(
    service: Service, runner: Runner, status: grpc.StatusCode, error: type[Exception]
) -> None:
    service.fails = status, "said\nso \0 " + "again " * 1000
    with pytest.raises(error) as raised:
        runner.infer(INPUTS)
    assert raised.type is error
    assert "said so ? again" in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_call_that_does_not_come_back_is_silent_where_the_server_answers_others(
    service: Service, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CALL_S", 0.2)
    service.silent = threading.Event()
    with pytest.raises(EngineSilent, match="has not answered a call"):
        runner.infer(INPUTS)


def test_a_server_that_answers_nobody_is_away(
    service: Service, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CALL_S", 0.2)
    monkeypatch.setattr(server, "WORD_S", 0.2)
    service.silent, service.silent_to_all = threading.Event(), True
    with pytest.raises(EngineAway, match="does not answer"):
        runner.infer(INPUTS)


@pytest.mark.usefixtures("by_message")
def test_deactivate_ends_a_call_that_is_on_its_way(service: Service, doubler: ComponentSpec, address: str) -> None:
    service.silent = threading.Event()
    runner = runner_of(doubler, address)
    runner.activate()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(runner.infer, INPUTS)
        while not service.calls:
            assert not call.done()
        runner.deactivate()
        with pytest.raises(EngineError, match="CANCELLED"):
            call.result()


def test_a_larger_call_gets_larger_memory_and_the_smaller_goes(service: Service, runner: Runner) -> None:
    runner.infer(INPUTS)
    lent = connection_of(runner)._regions
    assert lent is not None
    with lent.lent(3 * ROUNDED):
        assert [len(region) for region in service.regions.values()] == [3 * ROUNDED]
    runner.infer(INPUTS)
    assert [len(region) for region in service.regions.values()] == [3 * ROUNDED]


def connection_of(runner: Runner) -> connection.Connection:
    found = vars(runner)["_connection"]
    assert isinstance(found, connection.Connection)
    return found
