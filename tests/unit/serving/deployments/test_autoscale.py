"""How many replicas a stage gets, over simulated time and as Serve asks."""

from __future__ import annotations

import math
import pkgutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import serve
from ray.serve._private.autoscaling_state import ApplicationAutoscalingState
from ray.serve._private.common import DeploymentID, ReplicaID, ReplicaMetricReport, TimeStampedValue
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.config import AutoscalingPolicy
from ray.serve.schema import ServeApplicationSchema

from serving.deployments import autoscale
from serving.deployments.app import config
from serving.deployments.autoscale import Aim, Bounds, Memory, decide
from serving.errors import SettingsError
from serving.settings import ModelSettings, Scale, Settings, Stages, load_settings

AIM = Aim(backlog_s=30, down_delay_s=60, idle_s=300)
BOUNDS = Bounds(0, 8)


@dataclass
class Stage:
    """A stage's replicas, second by second."""

    bounds: Bounds = BOUNDS
    aim: Aim = AIM
    present: int = 1
    now: float = 1_000_000.0
    seen: list[int] = field(default_factory=list)
    memory: Memory | None = None

    def tick(self, backlog_s: float, seconds: float = 1.0) -> int:
        """One decision."""
        self.now += seconds
        memory = self.memory or Memory.fresh(self.present, self.now)
        self.present, self.memory = decide(backlog_s, self.present, self.bounds, self.aim, memory, self.now)
        self.seen.append(self.present)
        return self.present

    def run(self, backlog_s: float, seconds: int) -> list[int]:
        """What it has after each of so many seconds of the same backlog."""
        return [self.tick(backlog_s) for _ in range(seconds)]


# ── up ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_backlog_brings_all_that_it_asks_for_at_once() -> None:
    assert Stage(present=0).tick(0.001) == 1
    assert Stage(present=0).tick(150) == 5
    assert Stage(present=2).tick(150) == 5
    assert Stage(present=2).tick(1e9) == 8


# ── down ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_replicas_stay_until_fewer_were_enough_for_the_whole_delay() -> None:
    stage = Stage()
    stage.tick(150)

    assert stage.run(10, 59) == [5] * 59
    assert stage.run(10, 1) == [3]


def test_one_moment_of_backlog_begins_the_wait_anew() -> None:
    stage = Stage()
    stage.tick(150)
    stage.run(10, 50)
    stage.tick(140)

    assert stage.run(10, 59) == [5] * 59


def test_replicas_go_down_by_half_at_most_and_to_what_was_wanted_meanwhile() -> None:
    stage = Stage(present=8)
    stage.tick(240)
    stage.run(10, 1000)
    steps = [b for a, b in pairwise(stage.seen) if a != b]
    assert steps == [4, 2, 1]

    lower = Stage(present=8)
    lower.tick(240)
    lower.run(200, 30)
    assert lower.run(10, 35)[-1] == 7


def test_none_are_left_only_after_an_idle_time() -> None:
    stage = Stage()
    stage.tick(1)

    assert stage.run(0, 299) == [1] * 299
    assert stage.run(0, 1) == [0]
    assert stage.tick(0.5) == 1


def test_a_stage_with_a_least_number_keeps_it_when_idle() -> None:
    stage = Stage(bounds=Bounds(2, 8), present=2)

    assert set(stage.run(0, 1000)) == {2}


def test_after_a_new_start_replicas_are_not_taken_away_at_once() -> None:
    assert set(Stage(present=6).run(0, 59)) == {6}


# ── properties ──────────────────────────────────────────────────────────────────────────────────────────────────────

backlogs = st.one_of(st.just(0.0), st.floats(0, 1e6))
aims = st.builds(Aim, backlog_s=st.floats(0.01, 1e4), down_delay_s=st.floats(0, 1e3), idle_s=st.floats(0, 1e3))
bounds = st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda ends: Bounds(min(ends), max(ends)))
histories = st.lists(st.tuples(backlogs, st.floats(0.01, 400)), max_size=30)


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    """A stage that has seen something."""
    stage = Stage(bounds=draw(bounds), aim=draw(aims))
    stage.present = draw(st.integers(stage.bounds.least, stage.bounds.most))
    for backlog, seconds in draw(histories):
        stage.tick(backlog, seconds)
    return stage


def copy(stage: Stage) -> Stage:
    return Stage(stage.bounds, stage.aim, stage.present, stage.now, [], stage.memory)


@given(stages(), backlogs, backlogs, st.floats(0.01, 400))
def test_more_backlog_never_means_fewer_replicas(stage: Stage, one: float, other: float, seconds: float) -> None:
    less, more = sorted((one, other))

    assert copy(stage).tick(less, seconds) <= copy(stage).tick(more, seconds)


@given(stages())
def test_replicas_stay_within_their_bounds(stage: Stage) -> None:
    assert all(stage.bounds.least <= count <= stage.bounds.most for count in stage.seen)


@given(stages(), st.floats(min_value=0, exclude_min=True), st.floats(0.01, 400))
def test_a_stage_with_work_has_a_replica_and_enough_of_them(stage: Stage, backlog: float, seconds: float) -> None:
    count = stage.tick(backlog, seconds)

    assert count >= 1
    assert count == stage.bounds.most or count * stage.aim.backlog_s >= backlog * (1 - 1e-9)


@given(stages(), backlogs)
def test_a_constant_backlog_ends_in_one_number_that_then_stays(stage: Stage, backlog: float) -> None:
    wait = autoscale.MAX_PATIENCE * stage.aim.down_delay_s + stage.aim.idle_s + 1
    counts = [stage.tick(backlog, wait) for _ in range(12)]

    assert sorted(counts, reverse=True) == counts, "once it has what it needs it only goes down"
    wanted = math.ceil(backlog / stage.aim.backlog_s)
    assert abs(stage.bounds.clamp(wanted) - counts[-1]) <= (1 if backlog else 0)
    assert counts[-1] == stage.tick(backlog, wait)


@given(stages())
def test_what_is_remembered_is_bounded(stage: Stage) -> None:
    assert stage.memory is None or len(stage.memory.wishes) <= stage.bounds.most - stage.bounds.least + 1


# ── a whole house: replicas work the backlog off ────────────────────────────────────────────────────────────────────


def steady(load: float, seconds: int, start_s: int = 5) -> Iterator[tuple[float, int]]:
    """(backlog, replicas) of a stage into which `load` seconds of work come each second, in jobs of 4 s.

    A replica takes `start_s` to start. Each works off a second a second, as long as there is a job for it.
    """
    stage = Stage(bounds=Bounds(1, 20), present=1)
    backlog, owed, ups = 0.0, 0.0, [0] * start_s
    for _ in range(seconds):
        owed += load
        jobs, owed = divmod(owed, 4.0)
        backlog += 4.0 * jobs
        ups = [*ups[1:], stage.present]
        ready = min(ups)
        backlog -= min(backlog, float(min(ready, math.ceil(backlog / 4))))
        yield backlog, stage.tick(backlog)


@pytest.mark.parametrize("load", [0.3, 1.0, 2.5, 3.0, 4.1, 7.7, 12.4])
def test_a_steady_load_is_kept_up_with_and_steps_down_become_rare(load: float) -> None:
    hours = 4
    world = list(steady(load, hours * 3600))[3600:]

    counts = [count for _, count in world]
    downs = sum(b < a for a, b in pairwise(counts))
    # Without patience there are 18 to 34 an hour for the loads that are no whole number.
    assert downs / (hours - 1) <= 8
    assert max(backlog for backlog, _ in world) <= (math.ceil(load) + 2) * AIM.backlog_s
    assert sum(counts) / len(counts) <= load + 1


# ── as Serve asks ───────────────────────────────────────────────────────────────────────────────────────────────────


class Serve:
    """Serve's own bookkeeping of the applications, without a controller around it."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr(time, "time", lambda: self.now)
        self.applications: dict[str, ApplicationAutoscalingState] = {}
        self.targets: dict[str, dict[DeploymentID, int]] = {}
        for application in config(settings, grpc_port=1, http_port=2).applications:
            state, targets = ApplicationAutoscalingState(application.name), {}
            if application.autoscaling_policy is not None:
                policy = AutoscalingPolicy(**application.autoscaling_policy)  # type: ignore[no-untyped-call]  # Ray tells none
                state.register(policy)
            for deployment in _deployments(application):
                scaled = deployment._deployment_config.autoscaling_config
                if scaled is not None:
                    identity = DeploymentID(deployment.name, application.name)
                    info = DeploymentInfo(deployment._deployment_config, deployment._replica_config, 0, "")
                    targets[identity] = state.register_deployment(identity, info, scaled.min_replicas)
            self.applications[application.name], self.targets[application.name] = state, targets

    @property
    def director(self) -> ApplicationAutoscalingState:
        """Of its application."""
        return self.applications["longtake"]

    def told(self, model: str = "sprite-2", **backlog: float) -> None:
        """A Director's replica has recorded this."""
        director = ReplicaID("one", DeploymentID("director", "longtake"))
        self.director.update_running_replica_ids(director.deployment_id, [director])
        points = {
            f"{model}/{name}": [TimeStampedValue(self.now - 1, 1e6), TimeStampedValue(self.now, value)]
            for name, value in backlog.items()
        }
        self.director.record_request_metrics_for_replica(
            ReplicaMetricReport(replica_id=director, timestamp=self.now, metrics=points)
        )

    def decided(self, seconds: float = 0.1, application: str = "longtake-sprite-2") -> dict[str, int]:
        """What each stage of an application is to have, some turns of the controller later."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            for name, state in self.applications.items():
                targets = self.targets[name]
                if targets:
                    targets.update(state.get_decision_num_replicas(targets))
                for identity, count in targets.items():
                    if identity.name != "director":
                        running = [ReplicaID(str(number), identity) for number in range(count)]
                        state.update_running_replica_ids(identity, running)
        return {identity.name: count for identity, count in self.targets[application].items()}


def _deployments(application: ServeApplicationSchema) -> list[Any]:
    found: list[Any] = []

    def visit(application: Any) -> None:
        found.append(application._bound_deployment)
        for argument in application._bound_deployment.init_args:
            if isinstance(argument, serve.Application):
                visit(argument)

    visit(pkgutil.resolve_name(application.import_path)(application.args))
    return found


SCALED = Settings(
    stages=Stages(
        scale={"denoiser": Scale(min=0, max=4), "renderer": Scale(min=1, max=2), "conditioner": Scale(min=2, max=2)},
        backlog_s=10,
        down_delay_s=5,
        idle_s=20,
    )
)


def test_serve_follows_the_policy_up_and_down(monkeypatch: pytest.MonkeyPatch) -> None:
    house = Serve(SCALED, monkeypatch)
    assert house.decided() == {"denoiser": 0, "renderer": 1}

    house.told(denoiser=35, renderer=11)
    assert house.decided() == {"denoiser": 4, "renderer": 2}

    house.told(denoiser=1, renderer=1)
    assert house.decided(4)["denoiser"] == 4
    assert house.decided(3)["denoiser"] == 2
    assert house.decided(10) == {"denoiser": 1, "renderer": 1}

    house.told(denoiser=0, renderer=0)
    assert house.decided(19)["denoiser"] == 1
    assert house.decided(2) == {"denoiser": 0, "renderer": 1}


def test_one_long_job_asks_for_one_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    house = Serve(SCALED, monkeypatch)
    house.told(denoiser=35, jobs=1)
    assert house.decided()["denoiser"] == 1
    house.told(denoiser=35, jobs=2)
    assert house.decided()["denoiser"] == 2


def test_all_stay_as_they_are_while_no_director_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    house = Serve(SCALED, monkeypatch)
    house.told(denoiser=25)
    house.decided()
    house.director.update_running_replica_ids(DeploymentID("director", "longtake"), [])

    assert house.decided(100)["denoiser"] == 3


def test_the_backlog_of_one_model_scales_no_stage_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one whose name another one's begins with taken for it."""
    both = SCALED.model_copy(update={"models": {"sprite-2+style": ModelSettings()}})
    house = Serve(both, monkeypatch)
    house.told("sprite-2+style", denoiser=35, renderer=11)

    assert house.decided(application="longtake-sprite-2+style") == {"denoiser": 4, "renderer": 2}
    assert house.decided() == {"denoiser": 0, "renderer": 1}


# ── what is declared ────────────────────────────────────────────────────────────────────────────────────────────────


def _declared(settings: Settings) -> dict[str, tuple[int, int] | int]:
    shown: dict[str, tuple[int, int] | int] = {}
    for application in config(settings, grpc_port=1, http_port=2).applications:
        for deployment in _deployments(application):
            scaled = deployment._deployment_config.autoscaling_config
            count = deployment._deployment_config.num_replicas
            shown[deployment.name] = (scaled.min_replicas, scaled.max_replicas) if scaled else count
    return shown


def test_a_laptop_runs_one_of_each_and_nothing_is_scaled() -> None:
    assert set(_declared(Settings()).values()) == {1}
    found = config(Settings(), grpc_port=1, http_port=2).applications
    assert [application.autoscaling_policy for application in found] == [None, None]


def test_stages_whose_least_and_most_differ_are_scaled() -> None:
    shown = _declared(SCALED)

    assert (shown["denoiser"], shown["renderer"], shown["conditioner"]) == ((0, 4), (1, 2), 2)
    assert (shown["prompt_writer"], shown["text_encoder"], shown["director"]) == (1, 1, (1, 1))


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ({"scale": {"denoiser": {"min": 3, "max": 2}}}, "raise `max`, or lower `min`"),
        ({"scale": {"denoiser": {"max": 2}}, "replicas": {"denoiser": 2}}, "keep one of them"),
        ({"scale": {"denoiser": {"max": 5}}}, "set `slots` to 5 or more"),
        ({"replicas": {"denoisr": 2}}, "stages.replicas.denoisr"),
        ({"replicas": {"denoiser": 0}}, "stages.replicas.denoiser"),
    ],
)
def test_what_cannot_be_scaled_is_refused_with_the_fix(stages: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load_settings(stages=stages)
