"""The dashboard that is looked at first: is work coming, is it done in time, and what stands in its way."""

from __future__ import annotations

from typing import Final

from helm.monitoring.board import HERE, WINDOW, Board, Panel, Query, quantiles, rate

_ENDED: Final = "ray_longtake_jobs_finished_total"
_NOW: Final = (
    Panel("Running", "short", (Query(f"sum(ray_longtake_jobs_running{{{HERE}}})"),), "Jobs being made.", "number"),
    Panel("Waiting", "short", (Query(f"sum(ray_longtake_jobs_waiting{{{HERE}}})"),), "Jobs without a slot.", "number"),
    Panel(
        "Failed",
        "percentunit",
        (Query(f"""({rate(_ENDED, "", of='state="failed"')} or vector(0)) / {rate(_ENDED, "")}"""),),
        "Share of the jobs that ended; nothing where none did.",
        "number",
    ),
    Panel(
        "Video made",
        "short",
        (Query(rate("ray_longtake_video_seconds_total", "")),),
        "Seconds of video that become durable in a second.",
        "number",
    ),
    Panel(
        "Stages away",
        "short",
        (Query(f"sum(ray_longtake_stage_away{{{HERE}}}) or vector(0)"),),
        "Stages that do no work. More than none for minutes: see the runbook, LongtakeStageAway.",
        "number",
    ),
    Panel(
        "Front doors that hear the Director",
        "short",
        (Query(f"sum(longtake_watch_connected{{{HERE}}})"),),
        "None: jobs are taken and wait, and polls read the store.",
        "number",
    ),
)
_JOBS: Final = (
    Panel(
        "Accepted",
        "reqps",
        (Query(rate("longtake_jobs_created_total", "kind"), "{{kind}}"),),
        "Jobs a second, by what they make.",
        stacked=True,
    ),
    Panel(
        "Ended",
        "reqps",
        (Query(rate(_ENDED, "state"), "{{state}}"),),
        "Jobs a second, by state. Below what is accepted for long: the line grows.",
        stacked=True,
    ),
    Panel(
        "Refused",
        "reqps",
        (Query(rate("longtake_jobs_refused_total", "reason"), "{{reason}}"),),
        "Creates a second. QUEUE_FULL and DEADLINE_UNREACHABLE that go on: too few stages for what is asked.",
        stacked=True,
    ),
    Panel(
        "From create to the end",
        "s",
        quantiles("ray_longtake_job_seconds", "", of='state="succeeded"'),
        "Of jobs that succeeded.",
    ),
    Panel(
        "Wait in the queue",
        "s",
        quantiles("ray_longtake_queue_seconds", "model"),
        "From create to the first start, by model. It grows and work ahead does not: look at fair shares and slots.",
    ),
    Panel(
        "Work ahead",
        "s",
        (Query(f"max by (model, stage) (ray_longtake_backlog_seconds{{{HERE}}})", "{{model}} {{stage}}"),),
        "Predicted seconds of work, by model and stage, over all its replicas: what they are scaled by.",
    ),
)
_COST: Final = (
    Panel(
        "Engine time for a second of video",
        "s",
        (
            Query(
                f"sum by (model, component) (rate(ray_longtake_engine_busy_seconds_total{{{HERE}}}[1h]))"
                f" / on () group_left () (sum(rate(ray_longtake_video_seconds_total{{{HERE}}}[1h])) > 0)",
                "{{model}} {{component}}",
            ),
        ),
        "Of the last hour: a segment counts when it is whole. What the machines' time goes into.",
        stacked=True,
    ),
    Panel("Denoising steps", "ops", (Query(rate("ray_longtake_steps_total", "")),), "Steps a second, all Denoisers."),
    Panel(
        "Steps done again",
        "percentunit",
        (
            Query(
                f"({rate('ray_longtake_steps_recomputed_total', '')} or vector(0))"
                f" / {rate('ray_longtake_steps_total', '')}"
            ),
        ),
        "Work that was lost with its worker. Some per cent while machines are killed all the time.",
    ),
    Panel(
        "Steps reused",
        "percentunit",
        (
            Query(
                f"({rate('ray_longtake_steps_reused_total', '')} or vector(0)) / {rate('ray_longtake_steps_total', '')}"
            ),
        ),
        "Not computed, for the prediction hardly changed: of models with a step cache.",
    ),
)
_TROUBLE: Final = (
    Panel(
        "Stage calls that failed",
        "reqps",
        (Query(rate("ray_longtake_stage_failures_total", "model, stage, cause"), "{{model}} {{stage}} {{cause}}"),),
        "By cause. Any that goes on is worth a look into the logs.",
    ),
    Panel(
        "Workers lost",
        "short",
        (
            Query(
                f"sum by (model, stage) (increase(ray_longtake_workers_lost_total{{{HERE}}}[{WINDOW}]))",
                "{{model}} {{stage}}",
            ),
        ),
        "Calls that ended with their replica. It goes on rising: look for memory that runs out.",
    ),
    Panel(
        "Stages away",
        "short",
        (
            Query(
                f"max by (model, stage, reason) (ray_longtake_stage_away{{{HERE}}})", "{{model}} {{stage}} {{reason}}"
            ),
        ),
        "1 while a stage does no work, and why.",
    ),
    Panel(
        "Spans of traces that were dropped",
        "ops",
        (
            Query(f"{rate('longtake_spans_dropped_total', '')} or vector(0)", "front doors"),
            Query(f"{rate('ray_longtake_spans_dropped_total', '')} or vector(0)", "Director"),
        ),
        "The collector is away, or too slow. Videos do not wait for it.",
    ),
)
BOARD: Final = Board(
    "operations",
    "Longtake: operations",
    (("Now", _NOW), ("Jobs", _JOBS), ("Cost", _COST), ("Trouble", _TROUBLE)),
)
