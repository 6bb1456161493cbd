"""Longtake's settings: read once at the start of a process, frozen, unknown names refused.

Order, strongest first: command-line flags, environment (`LONGTAKE_GRPC__ADDRESS`), the TOML file named by
`LONGTAKE_CONFIG` (or `--config`), defaults. Every process of one installation reads the same settings.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from serving.errors import SettingsError
from serving.requests import Codec


class Group(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Grpc(Group):
    """The gRPC front door."""

    address: str = "127.0.0.1:50051"
    """host:port. Anything but loopback demands `auth.keys_file`."""
    tls_cert: Path | None = None
    """PEM chain; with `tls_key` the port speaks TLS."""
    tls_key: Path | None = None


class Http(Group):
    """Media, health and metrics."""

    address: str = "127.0.0.1:8080"
    public_url: str | None = None
    """What clients can reach, e.g. `https://video.example`. Default: `http://<address>`."""
    url_ttl_s: int = Field(default=86_400, ge=60, le=604_800)
    """Seconds that a returned URL works; 24 h as the public API has it."""


class Auth(Group):
    """API keys."""

    keys_file: Path | None = None
    """JSON lines: {"id", "tenant", "name", "sha256"} per key. None: no keys, allowed on loopback only."""


class Uploads(Group):
    """What clients may hand in."""

    max_file_bytes: int = 512 * 1024 * 1024
    allow_loopback_urls: bool = False
    """Let input URLs point at this machine: for development only."""


class Video(Group):
    """How video is written."""

    codec: Codec = Codec.AV1


StageName = Literal["prompt_writer", "text_encoder", "conditioner", "denoiser", "renderer"]


class Scale(Group):
    """Least and most replicas of a stage. Where they differ, its backlog decides."""

    min: int = Field(default=1, ge=0)
    """0: none while nothing is queued or running; the next job waits for a start."""
    max: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"`min` is {self.min} and `max` is {self.max}: raise `max`, or lower `min`")
        return self


class Stages(Group):
    """The Ray Serve deployments."""

    replicas: dict[StageName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """A fixed number of replicas by stage, e.g. {"denoiser": 2}; 1 each by default."""
    scale: dict[StageName, Scale] = Field(default_factory=dict)
    """Stages that are scaled by their backlog, e.g. {"denoiser": {"min": 0, "max": 4}}."""
    backlog_s: float = Field(default=30.0, gt=0)
    """Seconds of predicted work per replica that may be queued or running before another replica is started."""
    down_delay_s: float = Field(default=60.0, ge=0)
    """Seconds that fewer replicas must have been enough before any is taken away."""
    idle_s: float = Field(default=300.0, ge=0)
    """Seconds without any work before a stage goes down to its `min`, which may be none."""
    engine_threads: int = Field(default=0, ge=0)
    """Threads of each engine; 0: all cores."""
    slice_s: float = Field(default=5.0, gt=0)
    """Longest handle call to the Denoiser."""
    slots: int = Field(default=4, ge=1)
    """Jobs that the Director runs at once; at least as many as Denoisers."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.replicas:
            if name in self.scale:
                raise ValueError(f"`replicas` and `scale` both name {name}: keep one of them")
        denoisers = self.scale_of("denoiser").max
        if denoisers > self.slots:
            raise ValueError(
                f"up to {denoisers} Denoisers would share the work of `slots` = {self.slots} jobs, and a job takes one "
                f"of them at a time: set `slots` to {denoisers} or more"
            )
        return self

    def scale_of(self, stage: StageName) -> Scale:
        """Its least and most replicas, fixed ones included."""
        fixed = self.replicas.get(stage, 1)
        return self.scale.get(stage, Scale(min=fixed, max=fixed))

    @property
    def autoscaled(self) -> bool:
        """Whether any stage is scaled by its backlog."""
        return any(scale.min != scale.max for scale in self.scale.values())


class Director(Group):
    """Where the front door finds the Director."""

    address: str | None = None
    """host:port of Serve's gRPC proxy. None: as `up` wrote it to the store."""


class TenantAdmission(Group):
    """What is different for one tenant; what is left out is as in `admission`."""

    max_active_jobs: int | None = Field(default=None, ge=1)
    creates_per_minute: float | None = Field(default=None, gt=0)
    most_urgent: int | None = Field(default=None, ge=0, le=9)
    weight: float = Field(default=1.0, gt=0)
    """Its share of the engines while others wait too: a tenant of weight 2 gets twice what one of weight 1 gets."""


class Admission(Group):
    """Bounds of the queue."""

    max_active_jobs: int = Field(default=10_000, ge=1)
    """Queued and running jobs per tenant before creates are refused."""
    max_all_jobs: int = Field(default=100_000, ge=1)
    """The same for all tenants together."""
    creates_per_minute: float | None = Field(default=None, gt=0)
    """Creates per tenant and front-door process; a minute's worth may come at once. None: as many as the queue takes.
    Each front door counts for itself."""
    most_urgent: int = Field(default=1, ge=0, le=9)
    """The most urgent priority that a tenant may ask for. 0 goes before other tenants' work, so it is given by name."""
    tenants: dict[str, TenantAdmission] = Field(default_factory=dict)
    """Other bounds for single tenants, e.g. {"studio": {"most_urgent": 0, "weight": 2}}."""

    @property
    def weights(self) -> dict[str, float]:
        """Fair shares by tenant, those of weight 1 left out."""
        return {name: tenant.weight for name, tenant in self.tenants.items() if tenant.weight != 1.0}


class Retention(Group):
    """How long videos are kept, and what the collector (`longtake gc`) spares."""

    video_ttl_s: int | None = Field(default=None, ge=60)
    """Seconds after its end that a video is deleted; None: never. One that has an end of its own goes when the first
    of the two is there."""
    tenants: dict[str, Annotated[int, Field(ge=60)] | None] = Field(default_factory=dict)
    """The same for single tenants, instead of `video_ttl_s`, e.g. {"studio": 86400}."""
    margin_s: float = Field(default=3600.0, ge=600)
    """Whatever is younger is spared. Longer than any call to the front door takes, and than clocks differ."""
    cache_ttl_s: int = Field(default=30 * 86_400, ge=3600)
    """Seconds that a cached embedding or picture is kept; later it is computed again."""


class Settings(BaseSettings):
    """All of them."""

    model_config = SettingsConfigDict(env_prefix="LONGTAKE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    store: str = Field(default_factory=lambda: str(Path.home() / ".longtake" / "store"))
    """A directory, or `s3://host:port/bucket/prefix?secure=false`."""
    model: str = "sprite-1"
    """The default model."""
    grpc: Grpc = Grpc()
    http: Http = Http()
    auth: Auth = Auth()
    uploads: Uploads = Uploads()
    video: Video = Video()
    stages: Stages = Stages()
    director: Director = Director()
    admission: Admission = Admission()
    retention: Retention = Retention()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, then the TOML file."""
        path = os.environ.get("LONGTAKE_CONFIG")
        file = (TomlConfigSettingsSource(settings_cls, Path(path)),) if path else ()
        return (init_settings, env_settings, *file)


def load_settings(**flags: Any) -> Settings:
    """Read the settings, flags first. Raises `SettingsError` with one line that names what is wrong."""
    config = os.environ.get("LONGTAKE_CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError(f"LONGTAKE_CONFIG names {config}, which is not a file")
    try:
        settings = Settings(**flags)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting `{name}`: {first['msg']} (it is {first.get('input')!r})") from error
    _check(settings)
    return settings


def _check(settings: Settings) -> None:
    if (settings.grpc.tls_cert is None) != (settings.grpc.tls_key is None):
        raise SettingsError("settings `grpc.tls_cert` and `grpc.tls_key` come together: set both or neither")
    if settings.auth.keys_file is None:
        for name, address in (("grpc.address", settings.grpc.address), ("http.address", settings.http.address)):
            if name == "grpc.address" and not is_loopback(address):
                raise SettingsError(
                    f"setting `{name}` is {address}, which others can reach: set `auth.keys_file`, or use 127.0.0.1"
                )
    elif not settings.auth.keys_file.is_file():
        raise SettingsError(f"setting `auth.keys_file`: {settings.auth.keys_file} is not a file")


def split_address(address: str) -> tuple[str, int]:
    """`host:port` → (host, port). Raises `SettingsError`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise SettingsError(f"{address!r} is no address: write host:port, for example 127.0.0.1:50051")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach it."""
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
