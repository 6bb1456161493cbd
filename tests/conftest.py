"""What all tests share: one asyncio backend, a quiet video encoder, one thread for each worker's mathematics, and no
Ray where it does not belong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("SVT_LOG", "1")  # the encoder tells of every segment otherwise; it reads this once
# Workers of pytest stand side by side on the cores. Threads of torch that spin until a neighbour gives way to them take
# four times the work, and ten times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Who runs us may ignore it (a shell does so for jobs in the background), and children inherit that; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of the code: no test is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

UNIT = Path(__file__).parent / "unit"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_ray_in_unit_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that starts Ray is no unit test."""
    if UNIT not in request.path.parents:
        return
    try:
        import ray
    except ImportError:
        return

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("a unit test must not start Ray")

    monkeypatch.setattr(ray, "init", refuse)
