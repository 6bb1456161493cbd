"""How a VideoModel is, by its EngineBuilds.

Ready         True: it is in the store with engines that a CPU runs: it may be served
EnginesReady  True: so are those of all builds. A VideoService that names the model waits for this
Progressing   True: something is built, or is about to be
Degraded      True: a build failed or waits for what does not come by itself, or the checkpoint is another one
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from operators.api.checkpoint import Report
from operators.api.video_model import Build, Status
from operators.policies.model_plan import Plan, Seen
from operators.policies.state import Finding, conditions_of

ENGINES_READY = "EnginesReady"
_IN_STORE = Finding("Built", "the model is in the store with engines that a CPU runs, signed")


def model_status(
    plan: Plan,
    before: Status,
    *,
    model: str,
    family: str | None,
    generation: int,
    now: datetime,
    trouble: Finding | None,
) -> Status:
    """All of it. `model`: what it is called; `family`: which one it must be of; `trouble`: what keeps its EngineBuilds
    from being made."""
    report = _report(plan.seen, model) or before.report
    wrong = _another(report, family)
    missing = [one for one in plan.seen if one.state != "Ready"]
    fails = next((found for found in (trouble, wrong, *_failing(missing)) if found is not None), None)
    lacks = next(_lacking(missing), None)
    basic = [one for one in missing if not one.devices]
    told = {
        "Ready": (
            not basic and wrong is None,
            (wrong or fails or lacks) if basic or wrong else _IN_STORE,
        ),
        ENGINES_READY: (not missing and wrong is None, (fails or lacks) if missing or wrong else None),
        "Progressing": (
            lacks is not None and (fails is None or any(one.state == "Building" for one in missing)),
            lacks or fails,
        ),
        "Degraded": (fails is not None, fails or Finding("AsExpected", "")),
    }
    return Status(
        observed_generation=generation,
        conditions=conditions_of(
            {name: (true, why or _built(plan.seen)) for name, (true, why) in told.items()},
            before.conditions,
            generation=generation,
            now=now,
        ),
        model=model,
        family=report.family if report else family or "",
        engines=f"{len(plan.seen) - len(missing)}/{len(plan.seen)}",
        builds=[Build(name=one.name, state=one.state) for one in plan.seen],
        report=report,
    )


def going_status(waits: Finding, before: Status, *, generation: int, now: datetime) -> Status:
    """Of one that is to be taken out of its store, by what that waits for."""
    healthy = Finding("AsExpected", "")
    told = {
        "Ready": (False, waits),
        ENGINES_READY: (False, waits),
        "Progressing": (not waits.failing, waits),
        "Degraded": (waits.failing, waits if waits.failing else healthy),
    }
    found = conditions_of(told, before.conditions, generation=generation, now=now)
    return before.model_copy(update={"observed_generation": generation, "conditions": found})


def _report(seen: Sequence[Seen], model: str) -> Report | None:
    """Of all builds of the model itself; each told which variants there were at its end."""
    told = [one.found.status.report for one in seen if one.found is not None and one.model == model]
    reports = [report for report in told if report is not None]
    if not reports:
        return None
    variants = {variant.name: variant for report in reports for variant in report.variants}
    return reports[-1].model_copy(update={"variants": list(variants.values())})


def _another(report: Report | None, family: str | None) -> Finding | None:
    if report is None or family in (None, report.family):
        return None
    return Finding(
        "FamilyDiffers",
        f"spec.family: the checkpoint is of {report.family}, and not of {family}: correct it, or make another "
        "VideoModel from another checkpoint",
        failing=True,
    )


def _failing(missing: Sequence[Seen]) -> Iterator[Finding]:
    for one in missing:
        told = {condition.type: condition for condition in one.found.status.conditions} if one.found else {}
        if "Degraded" in told and told["Degraded"].status == "True":
            advice = ": change the spec, or delete it to have it tried again" if one.state == "Failed" else ""
            said = f"EngineBuild {one.name}: {told['Degraded'].message or told['Degraded'].reason}{advice}"
            yield Finding("EngineBuildFailed" if one.state == "Failed" else told["Degraded"].reason, said, failing=True)


def _lacking(missing: Sequence[Seen]) -> Iterator[Finding]:
    for one in missing:
        if one.state == "Building":
            told = {condition.type: condition for condition in one.found.status.conditions} if one.found else {}
            said = told["Progressing"].message if "Progressing" in told else "it is about to begin"
            yield Finding("EnginesBuilding", f"EngineBuild {one.name}: {said}")
    for one in missing:
        if one.state == "Waits":
            yield Finding("EnginesBuilding", f"EngineBuild {one.name} is about to be made")


def _built(seen: Sequence[Seen]) -> Finding:
    """All of it is there."""
    unverified = [
        one.name
        for one in seen
        if one.found is not None
        and any((told.type, told.reason) == ("Ready", "CompiledNotVerified") for told in one.found.status.conditions)
    ]
    if unverified:
        return Finding(
            "CompiledNotVerified",
            f"the engines of {', '.join(unverified)} are loaded only when `longtake engines verify` has compared them "
            "where such a GPU is",
        )
    return Finding("Built", "the model and its engines are in the store, signed")
