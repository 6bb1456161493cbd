"""Structured logs: one event per line, with the job it belongs to.

Each process calls `configure` once in its `__main__`. `job_context` binds a job's id to all that is logged
inside it, also by code that knows nothing of jobs.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

import structlog

Format = Literal["json", "console"]
STREAM = "LONGTAKE_LOG_STREAM"
"""Variable of the environment: a file or pipe that logs go to instead of stderr. Ray puts its workers' stderr into
files of its own; in a container `/proc/1/fd/1` is what `kubectl logs` shows."""


def configure(*, service: str, format: Format | None = None, level: int = logging.INFO) -> None:  # noqa: A002
    """Set up logging to stderr, or to what the environment names. `format` None: console on a terminal, else JSON.
    `service` names the process."""
    stream, refused = _stream()
    chosen = format or ("console" if stream.isatty() else "json")
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if chosen == "console" else structlog.processors.JSONRenderer()
    )

    def of_service(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        # Not a variable of this context: each call to a replica has a context of its own.
        return {"service": service, **event}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        of_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if chosen == "json":
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=stream, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if refused is not None:
        logger("logs").warning("logs go to stderr", wanted=os.environ[STREAM], reason=str(refused))


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose events carry `room=<name>`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=name)
    return bound


@contextmanager
def job_context(tenant: str, job: str, trace_id: str = "") -> Iterator[None]:
    """All that is logged inside belongs to this job, and to this trace if there is one."""
    traced = {"trace_id": trace_id} if trace_id else {}
    with structlog.contextvars.bound_contextvars(tenant=tenant, job=job, **traced):
        yield


def _stream() -> tuple[TextIO, OSError | None]:
    """Where logs go, and what keeps them from going where the environment wants them."""
    wanted = os.environ.get(STREAM)
    try:
        # Each event is one write: lines of many processes stay apart.
        return (Path(wanted).open("a", buffering=1) if wanted else sys.stderr), None
    except OSError as error:
        return sys.stderr, error
