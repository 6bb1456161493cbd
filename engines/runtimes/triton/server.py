"""One Triton Inference Server as one engine's calls see it: the only file that imports its client.

`connection.py` calls it. What the client raises becomes an error of `engines` here, which says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineAway, EngineError, EngineSilent, EngineUnverified
from engines.runtimes.triton.answers import TYPES, Shape, Told
from engines.spec import TensorSpec

CALL_S: Final = 240.0
"""Seconds that a call to an engine may take: longer than any does, and shorter than what ends a stage that hangs."""
WORD_S: Final = 10.0
"""Seconds for a question about the server or a model."""
CHANNEL: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # the frames of a batch are hundreds of megabytes
    ("grpc.max_reconnect_backoff_ms", 2000),  # else it takes minutes to see that a server is back
)
MOST_TOLD: Final = 300
"""Characters of what the server says that are passed on."""


@dataclass(frozen=True)
class Place:
    """A tensor's place in memory that the server has mapped."""

    region: str
    offset: int
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Answer:
    """One output: what was told of it, and its values, which are empty where they lie in shared memory."""

    told: Told
    data: bytes


class Server:
    """The model `name` on a server. Safe from several threads; `close` ends the calls that are on their way."""

    def __init__(self, address: str, name: str, written_by: str) -> None:
        """`address`: of its gRPC, `host:port`. Raises `EngineUnverified` where its client is not installed."""
        try:
            import tritonclient.grpc as library
            from tritonclient.utils import InferenceServerException
        except ImportError as error:
            raise EngineUnverified(
                "`engines.triton` names a server, and its client is not installed: pip install 'longtake[triton]'"
            ) from error
        self._library = library
        self._failure: type[Exception] = InferenceServerException
        self._address = address
        self._name = name
        self._written_by = written_by
        self._client: Any = library.InferenceServerClient(address, channel_args=list(CHANNEL))

    def __str__(self) -> str:
        return f"{self._name} on the Triton server at {self._address}"

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def face(self) -> tuple[list[Told], list[Told]]:
        """What the model takes and gives. Raises `EngineAway` for a server or a model that is not there."""
        with self._told(WORD_S):
            said = self._client.get_model_metadata(self._name, client_timeout=WORD_S)
        return [_told_of(tensor) for tensor in said.inputs], [_told_of(tensor) for tensor in said.outputs]

    def infer(
        self,
        inputs: Mapping[str, NDArray[np.generic] | tuple[Place, TensorSpec, Shape]],
        outputs: Mapping[str, Place | None],
    ) -> dict[str, Answer]:
        """One call: inputs are sent, or lie at a place; so do the outputs that have one, and the others come back.

        Raises `ValueError` for what the server says is no input of the model, `EngineAway` for a server or a model that
        is not there, `EngineSilent` after `CALL_S` if it is, `EngineError` for an engine that fails.
        """
        sent = [self._input(name, value) for name, value in inputs.items()]
        wanted = [self._output(name, place) for name, place in outputs.items()]
        with self._told(CALL_S):
            said = self._client.infer(self._name, sent, outputs=wanted, client_timeout=CALL_S).get_response()
        return dict(_answers(said))

    def register(self, region: str, key: str, size: int) -> None:
        """Have the server map memory of this machine. Raises `EngineError` where it cannot."""
        with self._told(WORD_S):
            self._client.register_system_shared_memory(region, key, size, client_timeout=WORD_S)

    def has_lost(self, region: str) -> bool:
        """Whether the server is there, and has not mapped it: one that was started anew since."""
        try:
            said = self._client.get_system_shared_memory_status(client_timeout=WORD_S)
        except (self._failure, ValueError):  # ValueError: our end was closed meanwhile
            return False
        return region not in said.regions

    def unregister(self, region: str) -> None:
        """Have the server forget a region. Raises `EngineError`."""
        with self._told(WORD_S):
            self._client.unregister_system_shared_memory(region, client_timeout=WORD_S)

    def _input(self, name: str, value: NDArray[np.generic] | tuple[Place, TensorSpec, Shape]) -> Any:
        if isinstance(value, tuple):
            place, tensor, shape = value
            made = self._library.InferInput(name, list(shape), TYPES[tensor.dtype])
            return made.set_shared_memory(place.region, place.size, place.offset)
        made = self._library.InferInput(
            name, list(value.shape), TYPES["int64" if value.dtype == np.int64 else "float32"]
        )
        return made.set_data_from_numpy(value)

    def _output(self, name: str, place: Place | None) -> Any:
        made = self._library.InferRequestedOutput(name)
        if place is not None:
            made.set_shared_memory(place.region, place.size, place.offset)
        return made

    @contextmanager
    def _told(self, within_s: float) -> Iterator[None]:
        try:
            yield
        except self._failure as error:
            raise self._meant(error, within_s) from error

    def _meant(self, error: Any, within_s: float) -> Exception:
        """What an error of the client is, by its gRPC status."""
        status, said = str(error.status()).removeprefix("StatusCode."), _shown(str(error.message()))
        match status:
            case "INVALID_ARGUMENT":
                return ValueError(f"{self} refuses the call: {said}")
            case "NOT_FOUND":
                return EngineAway(
                    f"no {self} ({said}): write it with `{self._written_by}`, and have the server load it"
                )
            case "UNAVAILABLE":
                return EngineAway(
                    f"the Triton server at {self._address} is not there ({said}): start it, or change `engines.triton`"
                )
            case "DEADLINE_EXCEEDED" if self._answers():
                return EngineSilent(f"{self} has not answered a call in {within_s:.0f} s")
            case "DEADLINE_EXCEEDED":
                return EngineAway(
                    f"the Triton server at {self._address} does not answer: start it anew, or change `engines.triton`"
                )
            case _:
                return EngineError(f"{self} failed: {status}: {said}")

    def _answers(self) -> bool:
        """Whether the server has a word for anybody."""
        try:
            return bool(self._client.is_server_live(client_timeout=WORD_S))
        except self._failure:
            return False


def _told_of(tensor: Any) -> Told:
    return Told(_shown(tensor.name), _shown(tensor.datatype), tuple(tensor.shape))


def _answers(said: Any) -> Iterator[tuple[str, Answer]]:
    """Outputs, each with its bytes, which are none where it lies in shared memory."""
    data: Sequence[bytes] = said.raw_output_contents
    for at, tensor in enumerate(said.outputs):
        yield tensor.name, Answer(_told_of(tensor), data[at] if at < len(data) else b"")


def _shown(text: str) -> str:
    """A server's text for a message: one line, and no more of it than anybody reads."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in line[:MOST_TOLD])
