"""Structured logs: one event per line, with the job it belongs to.

Each process calls `configure` once in its `__main__`. `job_context` binds a job's id to all that is logged
inside it, also by code that knows nothing of jobs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog

Format = Literal["json", "console"]


def configure(*, service: str, format: Format | None = None, level: int = logging.INFO) -> None:  # noqa: A002
    """Set up logging to stderr. `format` None: console on a terminal, else JSON. `service` names the process."""
    chosen = format or ("console" if sys.stderr.isatty() else "json")
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if chosen == "console" else structlog.processors.JSONRenderer()
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if chosen == "json":
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose events carry `room=<name>`."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(room=name)
    return bound


@contextmanager
def job_context(tenant: str, job: str) -> Iterator[None]:
    """All that is logged inside belongs to this job."""
    with structlog.contextvars.bound_contextvars(tenant=tenant, job=job):
        yield
