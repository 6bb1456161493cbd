"""The dashboard of the machines: what each stage, engine and cache does, and the Director that sends them work."""

from __future__ import annotations

from typing import Final

from helm.monitoring.board import HERE, WINDOW, Board, Panel, Query, quantiles, rate

_LOOKUPS: Final = "ray_longtake_cache_lookups_total"
_STAGES: Final = (
    Panel(
        "A call to a stage",
        "s",
        quantiles("ray_longtake_stage_seconds", "model, stage"),
        "Denoisers are called in slices.",
    ),
    Panel(
        "Calls",
        "reqps",
        (Query(rate("ray_longtake_stage_seconds_count", "model, stage"), "{{model}} {{stage}}"),),
        "A second, by model and stage.",
    ),
    Panel(
        "Away",
        "percentunit",
        (Query(rate("ray_longtake_stage_away_seconds_total", "model, stage"), "{{model}} {{stage}}"),),
        "Share of the time that a stage did no work, as far as it was tried.",
    ),
)
_ENGINES: Final = (
    Panel(
        "A call to an engine",
        "s",
        quantiles("ray_longtake_engine_seconds", "model, component", at=(0.95,)),
        "By component.",
    ),
    Panel(
        "Engines at work",
        "short",
        (Query(rate("ray_longtake_engine_busy_seconds_total", "model, component"), "{{model}} {{component}}"),),
        "Seconds of an engine's work in a second: 1 is one engine that never waits.",
        stacked=True,
    ),
    Panel(
        "GPU memory",
        "bytes",
        (Query(f"max by (model, part) (ray_longtake_device_memory_bytes{{{HERE}}})", "{{model}} {{part}}"),),
        "Of the fullest GPU that runs the model, all that is in use there, and all that there is.",
    ),
    Panel(
        "Found in the cache",
        "percentunit",
        (
            Query(
                f"""({rate(_LOOKUPS, "kind", of='outcome="hit"')} or 0 * {rate(_LOOKUPS, "kind")})"""
                f" / {rate(_LOOKUPS, 'kind')}",
                "{{kind}}",
            ),
        ),
        "Captions, pictures and clips that were not encoded again.",
    ),
)
_DENOISER: Final = (
    Panel("A step", "s", quantiles("ray_longtake_step_seconds", ""), "Of a batch, as the replica does it."),
    Panel("A checkpoint", "s", quantiles("ray_longtake_checkpoint_seconds", ""), "Seconds: the store is slow."),
    Panel("Rendering", "s", quantiles("ray_longtake_render_seconds", "part", at=(0.95,)), "Of a segment, by part."),
)
_DIRECTOR: Final = (
    Panel(
        "What the Director does",
        "s",
        quantiles("ray_longtake_director_step_seconds", "step", at=(0.95,)),
        "Seconds for any of them: the store is slow, or the line very long.",
    ),
    Panel(
        "Segments",
        "reqps",
        (Query(rate("ray_longtake_segments_committed_total", "kind"), "{{kind}}"),),
        "That became durable, a second.",
    ),
    Panel(
        "Collections",
        "short",
        (Query(f"sum by (outcome) (increase(ray_longtake_collections_total{{{HERE}}}[{WINDOW}]))", "{{outcome}}"),),
        "Failed ones that go on: what is deleted stays in the store.",
    ),
)
BOARD: Final = Board(
    "stages",
    "Longtake: stages and engines",
    (("Stages", _STAGES), ("Engines", _ENGINES), ("Denoiser and Renderer", _DENOISER), ("Director", _DIRECTOR)),
)
