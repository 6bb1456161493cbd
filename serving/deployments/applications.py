"""The Serve applications of this host: deployed as the settings have them, and waited for. `host.py` has one of these.

Serve leaves an application alone whose configuration is what it was, and deletes those that are no longer in it. So a
model comes and goes without a touch to the others.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

from ray import serve
from ray.exceptions import RayError
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatusOverview

from serving.deployments.app import config
from serving.deployments.declared import APPLICATION, application_of
from serving.deployments.given_up import GivenUp
from serving.logs import logger
from serving.reports import Reports
from serving.settings import Settings

DEPLOY_TIMEOUT_S = 120.0
"""For each model: their processes start beside each other, and load engines."""
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")


class DeploymentFailed(Exception):
    """An application did not come up."""


class Applications:
    """The Director's and the models'."""

    def __init__(self, settings: Settings, *, grpc_port: int, http_port: int) -> None:
        """Front doors find the Director at `grpc_port` of this machine."""
        self.settings = settings
        """What the next deploy takes."""
        self._ports = {"grpc_port": grpc_port, "http_port": http_port}
        self._generations: dict[str, int] = {}
        self._given_up: dict[str, GivenUp] = {}

    @property
    def names(self) -> list[str]:
        """As Serve knows them."""
        return [APPLICATION, *map(application_of, self.settings.served)]

    def replace(self, names: Iterable[str]) -> None:
        """The next deploy replaces every replica of these."""
        for name in names:
            self._generations[name] = self._generations.get(name, 0) + 1

    def not_up(self) -> list[str]:
        """Those of which something is wrong, as far as Serve says."""
        found = look()
        return [] if found is None else [name for name in self.names if not _is_up(found.get(name))]

    def given_up(self, now: float) -> dict[str, list[str]]:
        """By application the stages of which Serve starts no replica any more, where something is to be done now.

        `now`: monotonic seconds.
        """
        due: dict[str, list[str]] = {}
        for name, application in (look() or {}).items():
            if name in self.names and (stages := self._given_up.setdefault(name, GivenUp()).due(application, now)):
                due[name] = stages
        return due

    def deploy(self, reports: Reports | None = None) -> None:
        """As `serve run config.yaml` does, until every deployment is up. Raises `DeploymentFailed`, at the first one
        that fails; what else was deployed goes on to come up."""
        announced = f"127.0.0.1:{self._ports['grpc_port']}"
        wanted = config(self.settings, **self._ports, announced=announced, generations=self._generations)
        serve.start(
            proxy_location=wanted.proxy_location,
            http_options=HTTPOptions(host=wanted.http_options.host, port=wanted.http_options.port),
            grpc_options=gRPCOptions(**wanted.grpc_options.model_dump()),
            logging_config=wanted.logging_config,
        )
        client = _get_global_client()
        assert client is not None, "serve.start made it"
        client.deploy_apps(wanted)
        self._wait(reports)

    def _wait(self, reports: Reports | None) -> None:
        most_s = DEPLOY_TIMEOUT_S * len(self.settings.served)
        ends = time.monotonic() + most_s
        up: list[str] = []
        while time.monotonic() < ends:
            found = look()
            if found is not None:
                healthy = sorted(_healthy(found))
                if healthy != up and reports is not None:
                    up = healthy
                    reports.say(f"stages up: {len(up)} of {sum(len(one.deployments) for one in found.values())}")
                if found.keys() == {*self.names} and all(map(_is_up, found.values())):
                    return
                _refuse_failed(found, self.names)
            time.sleep(0.1)
        raise DeploymentFailed(f"not all was up after {most_s:.0f} s; up so far: {up}")


def look() -> Mapping[str, ApplicationStatusOverview] | None:
    """Every application as Serve's controller has it; None while that is being started again."""
    try:
        return serve.status().applications
    except (RayError, RayServeException) as error:
        logger("host").info("Serve does not say how it is", reason=str(error))
        return None


def _is_up(application: ApplicationStatusOverview | None) -> bool:
    return application is not None and application.status == "RUNNING"


def _healthy(found: Mapping[str, ApplicationStatusOverview]) -> Iterable[str]:
    for name, application in found.items():
        for stage, deployment in application.deployments.items():
            if deployment.status == "HEALTHY":
                yield f"{name}/{stage}"


def _refuse_failed(found: Mapping[str, ApplicationStatusOverview], names: Collection[str]) -> None:
    for name, application in found.items():
        if name in names and application.status in _FAILED:
            raise DeploymentFailed(f"the stages failed to start: {_reason(name, application)}")


def _reason(name: str, application: ApplicationStatusOverview) -> str:
    """The first replica's own error, where there is one: its last line is the exception."""
    for stage, deployment in application.deployments.items():
        lines = deployment.message.strip().splitlines()
        if deployment.status in _FAILED and lines:
            return f"{stage} of {name}: {lines[-1].strip()}"
    return f"{name}: {application.message.strip()}"
