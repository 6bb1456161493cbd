"""Every metric of Longtake, in one table: name, kind, meaning and labels.

The table imports no metrics library. A front door binds it to prometheus_client
(`frontdoor/edge/metrics.py`), the Ray replicas bind it to ray.util.metrics (`deployments/`). Rooms in
between take a `Recorder` and do not know which. Names follow Prometheus: base units, `_total` for counters.
No label takes a value that a user can choose freely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["counter", "gauge", "histogram"]

_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LIFE_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)
_WORK_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True)
class Metric:
    """One metric. Labels are given with every recording, all of them."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram."""


class Recorder(Protocol):
    """Where measurements go."""

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Raise a counter."""

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Set a gauge."""

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Put a value into a histogram."""


class Unrecorded:
    """A recorder for processes that nobody scrapes (the CLI's local commands, tests of single parts)."""

    def add(self, metric: Metric, amount: float = 1.0, /, **labels: str) -> None:
        """Forget it."""

    def set(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Forget it."""

    def observe(self, metric: Metric, value: float, /, **labels: str) -> None:
        """Forget it."""


# ── front door ──────────────────────────────────────────────────────────────────────────────────────────────

RPC_HANDLED = Metric(
    "longtake_rpc_handled_total",
    "counter",
    "gRPC calls that ended, by method and status.",
    ("method", "code"),
)
RPC_SECONDS = Metric(
    "longtake_rpc_seconds",
    "histogram",
    "Time of unary gRPC calls inside the server.",
    ("method",),
    _CALL_SECONDS,
)
RPC_STREAMS = Metric("longtake_rpc_streams", "gauge", "Streaming gRPC calls that are open.", ("method",))
JOBS_CREATED = Metric(
    "longtake_jobs_created_total",
    "counter",
    "Jobs that were accepted, by kind and source.",
    ("kind", "source"),
)
JOBS_REFUSED = Metric("longtake_jobs_refused_total", "counter", "Creates that were refused, by reason.", ("reason",))
CREATES_REPEATED = Metric(
    "longtake_creates_repeated_total",
    "counter",
    "Resent creates that returned the job of the first one.",
    ("by",),
)
RECORD_READS = Metric(
    "longtake_record_reads_total",
    "counter",
    "Job records that were asked for, by where they came from.",
    ("source",),
)
WATCH_CONNECTED = Metric("longtake_watch_connected", "gauge", "1 while the Director's Watch stream vouches.")
WATCH_BREAKS = Metric("longtake_watch_breaks_total", "counter", "Times that the Watch stream was lost.", ("cause",))
WAKE_FAILURES = Metric("longtake_wake_failures_total", "counter", "Hints that did not reach the Director.", ("cause",))
MEDIA_BYTES = Metric("longtake_media_bytes_total", "counter", "Bytes of media that were served.", ("route",))

SPANS_DROPPED = Metric(
    "longtake_spans_dropped_total",
    "counter",
    "Spans of traces that were not sent: nothing took them, or too many waited. The Director counts its own.",
)

# ── Director and stages ─────────────────────────────────────────────────────────────────────────────────────

JOBS_FINISHED = Metric("longtake_jobs_finished_total", "counter", "Jobs that ended, by state.", ("state",))
JOBS_WAITING = Metric("longtake_jobs_waiting", "gauge", "Jobs that wait for a slot.")
JOBS_RUNNING = Metric("longtake_jobs_running", "gauge", "Jobs that are being made.")
DIRECTOR_STEP_SECONDS = Metric(
    "longtake_director_step_seconds",
    "histogram",
    "What the Director does, by step: hear, end (what is overdue), claim, adopt, for each job; list and order.",
    ("step",),
    _CALL_SECONDS,
)
JOB_SECONDS = Metric(
    "longtake_job_seconds",
    "histogram",
    "From create to the end of a job, by state.",
    ("state",),
    _LIFE_SECONDS,
)
QUEUE_SECONDS = Metric(
    "longtake_queue_seconds",
    "histogram",
    "How long jobs waited in the queue: from create to their first start.",
    ("model",),
    _LIFE_SECONDS,
)
SEGMENTS_COMMITTED = Metric("longtake_segments_committed_total", "counter", "Segments that became durable.", ("kind",))
BACKLOG_SECONDS = Metric(
    "longtake_backlog_seconds",
    "gauge",
    "Predicted work that waits or runs, by stage: over all its replicas.",
    ("model", "stage"),
)
VIDEO_SECONDS = Metric("longtake_video_seconds_total", "counter", "Length of the video that became durable.")
STAGE_SECONDS = Metric(
    "longtake_stage_seconds", "histogram", "Time of one call to a stage.", ("model", "stage"), _WORK_SECONDS
)
STAGE_FAILURES = Metric(
    "longtake_stage_failures_total", "counter", "Stage calls that failed.", ("model", "stage", "cause")
)
STEPS_DONE = Metric("longtake_steps_total", "counter", "Denoising steps that were done.")
STEPS_REUSED = Metric(
    "longtake_steps_reused_total", "counter", "Of these steps, those whose prediction was reused and not computed."
)
STEP_SECONDS = Metric(
    "longtake_step_seconds", "histogram", "Time of one denoising step that was computed.", (), _WORK_SECONDS
)
CHECKPOINT_SECONDS = Metric(
    "longtake_checkpoint_seconds", "histogram", "Time to write one checkpoint, beside the work.", (), _WORK_SECONDS
)
WORKERS_LOST = Metric(
    "longtake_workers_lost_total", "counter", "Calls that ended with their replica, by stage.", ("model", "stage")
)
STAGE_AWAY = Metric(
    "longtake_stage_away",
    "gauge",
    "1 while a stage does no work, by why: no_replica, full, unreachable or keeps_ending.",
    ("model", "stage", "reason"),
)
STAGE_AWAY_SECONDS = Metric(
    "longtake_stage_away_seconds_total",
    "counter",
    "Time that a stage was away, as far as it was tried.",
    ("model", "stage"),
)
STEPS_RECOMPUTED = Metric(
    "longtake_steps_recomputed_total", "counter", "Denoising steps that were done again after a loss."
)
RENDER_SECONDS = Metric(
    "longtake_render_seconds",
    "histogram",
    "Time of a segment's rendering by part: decode, encode, upload.",
    ("part",),
    _WORK_SECONDS,
)
CACHE_LOOKUPS = Metric(
    "longtake_cache_lookups_total", "counter", "Conditions looked up by content.", ("kind", "outcome")
)
ENGINE_SECONDS = Metric(
    "longtake_engine_seconds", "histogram", "Time inside an engine, per call.", ("model", "component"), _WORK_SECONDS
)
ENGINE_BUSY_SECONDS = Metric(
    "longtake_engine_busy_seconds_total",
    "counter",
    "The same, summed: of a histogram Ray tells the sum in buckets' middles alone.",
    ("model", "component"),
)
DEVICE_MEMORY = Metric(
    "longtake_device_memory_bytes",
    "gauge",
    "Memory of a stage's GPU after its last call of an engine, by part: used (by whoever), total. None without a GPU.",
    ("model", "part"),
)
COLLECTED_KEYS = Metric(
    "longtake_collected_keys_total", "counter", "Keys that the collector deleted, by what they were.", ("kind",)
)
COLLECTIONS = Metric(
    "longtake_collections_total",
    "counter",
    "Collections by outcome: done; failed, and tried again; crashed, the collector was started again.",
    ("outcome",),
)
COLLECTED_BYTES = Metric("longtake_collected_bytes_total", "counter", "Bytes of those keys.", ("kind",))

FRONT_DOOR: tuple[Metric, ...] = (
    RPC_HANDLED,
    RPC_SECONDS,
    RPC_STREAMS,
    JOBS_CREATED,
    JOBS_REFUSED,
    CREATES_REPEATED,
    RECORD_READS,
    WATCH_CONNECTED,
    WATCH_BREAKS,
    WAKE_FAILURES,
    MEDIA_BYTES,
    SPANS_DROPPED,
)
"""What a front-door process exposes at `/metrics`."""

REPLICAS: tuple[Metric, ...] = (
    JOBS_FINISHED,
    JOBS_WAITING,
    JOBS_RUNNING,
    DIRECTOR_STEP_SECONDS,
    JOB_SECONDS,
    QUEUE_SECONDS,
    SEGMENTS_COMMITTED,
    VIDEO_SECONDS,
    BACKLOG_SECONDS,
    STAGE_SECONDS,
    STAGE_FAILURES,
    STEPS_DONE,
    STEPS_REUSED,
    STEP_SECONDS,
    CHECKPOINT_SECONDS,
    WORKERS_LOST,
    STAGE_AWAY,
    STAGE_AWAY_SECONDS,
    STEPS_RECOMPUTED,
    RENDER_SECONDS,
    CACHE_LOOKUPS,
    ENGINE_SECONDS,
    ENGINE_BUSY_SECONDS,
    DEVICE_MEMORY,
    COLLECTED_KEYS,
    COLLECTED_BYTES,
    COLLECTIONS,
    SPANS_DROPPED,
)
"""What Director and stages expose through Ray."""


def label_values(metric: Metric, labels: Mapping[str, str]) -> tuple[str, ...]:
    """The labels' values in the metric's order. Raises `ValueError` when a label is missing or unknown."""
    if len(labels) != len(metric.labels) or any(name not in labels for name in metric.labels):
        raise ValueError(f"{metric.name} takes the labels {metric.labels}, not {tuple(labels)}")
    return tuple(labels[name] for name in metric.labels)
