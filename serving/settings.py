"""Longtake's settings: read once at the start of a process, frozen, unknown names refused.

Order, strongest first: command-line flags, environment (`LONGTAKE_GRPC__ADDRESS`), the TOML file named by
`LONGTAKE_CONFIG` (or `--config`), defaults. Every process of one installation reads the same settings.

The text under each setting says its unit, its default where that is no value, and why it is there.
`docs/generate.py` makes docs/settings.md of it, so it is written for those who run Longtake.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnparsedVariable

from serving.errors import SettingsError
from serving.frozen import Frozen
from serving.home import home, in_home
from serving.requests import Codec
from serving.stage_names import DENOISER, STAGES, StageName


class Grpc(Frozen):
    """The gRPC front door."""

    address: str = "127.0.0.1:50051"
    """host:port to listen on; port 0 takes a free one. Anything but loopback demands `auth.keys_file`, so that nobody
    opens a server to others by accident."""
    tls_cert: Path | None = Field(default=None, examples=["cert.pem"])
    """File with the certificate and its chain, PEM. With `tls_key` the port speaks TLS; set both or neither. None: no
    TLS. The xai-sdk sends an upload's API key over TLS, or to `localhost`, and not otherwise."""
    tls_key: Path | None = Field(default=None, examples=["key.pem"])
    """File with the certificate's private key, PEM."""
    grace_s: float = Field(default=5.0, ge=0, le=3600)
    """Seconds that calls which run may take to end when the server is told to stop; what still streams then is cut. In
    a cluster: less than the pod's grace period."""


class Http(Frozen):
    """Media, health (`/healthz`, `/readyz`) and metrics (`/metrics`) over HTTP."""

    address: str = "127.0.0.1:8080"
    """host:port to listen on; port 0 takes a free one. It speaks no TLS: put a proxy before it where others reach it.
    Media need a signed URL; health and metrics need nothing."""
    public_url: str | None = Field(default=None, examples=["https://video.example"])
    """What clients can reach; returned URLs begin with it. None: `http://` and the address. It must be set where the
    address is that of every network (0.0.0.0), which no client can reach."""
    url_ttl_s: int = Field(default=86_400, ge=60, le=604_800)
    """Seconds that a returned URL works; 24 h as the public API has it. A URL needs no API key, so it must end."""


class Auth(Frozen):
    """API keys, and with them tenants."""

    keys_file: Path | None = Field(default=None, examples=["keys.jsonl"])
    """File that `longtake keys add NAME --file FILE` writes: a JSON line per key, with its SHA-256 only. It must exist
    at the start; keys that are added later are known at once. None: no keys, everyone is the tenant `default`;
    allowed on loopback only."""


class Uploads(Frozen):
    """What clients may hand in. Until it is whole and in the store it lies on the front door's machine, in the folder
    that the variable `TMPDIR` names (`/tmp` where there is none)."""

    max_file_bytes: int = 512 * 1024 * 1024
    """Bytes of the largest file that may be uploaded; 512 MiB. It bounds what one upload takes of `TMPDIR`, where 4
    uploads and 4 videos that are extended may lie for each tenant, and 32 and 16 for all together."""
    allow_loopback_urls: bool = False
    """Let input URLs point at this machine, and at any port: for development only. A client could read what else this
    machine serves to itself."""


class Video(Frozen):
    """How video is written."""

    codec: Codec = Codec.AV1
    """What a request that names no codec gets: AV1 is the smaller one, H.264 plays on older devices. An extension keeps
    its video's codec."""


class Engines(Frozen):
    """Which engines are loaded, and whose from a store. The package's own need no key."""

    variant: str = Field(default="", pattern="^([a-z0-9_]+-[a-z0-9]+)?$", examples=["tensorrt_rtx-sm89"])
    """Runtime and device of the engines that are served, as `longtake engines ls --all` lists them; default: those of
    the package, or ONNX Runtime's in the store. All processes of an installation have the same, those without a GPU
    too: it decides the digest that jobs record."""

    trusted_keys: Path = Field(
        default_factory=lambda: home() / ".longtake" / "engine-keys" / "trusted",
        examples=["/etc/longtake/trusted-engine-keys"],
    )
    """File with a public key a line, as `longtake engines trust ls` prints them; default:
    `~/.longtake/engine-keys/trusted`. Engines that lie in a store are loaded when one of these keys signed them, and
    refused else: they are native code. Only its owner may write it. It is read again whenever engines are loaded."""
    signing_key: Path = Field(
        default_factory=lambda: home() / ".longtake" / "engine-keys" / "key.pem",
        examples=["/etc/longtake/engine-key.pem"],
    )
    """File with the key that `longtake engines build` and `sign` sign with; default:
    `~/.longtake/engine-keys/key.pem`. The first build into a store makes it, and trusts it on this machine. What serves
    does not need it."""
    weights_folder: Path = Field(
        default_factory=lambda: home() / ".longtake" / "engine-weights",
        examples=["/var/cache/longtake/engine-weights"],
    )
    """Folder on this machine for weights that lie beside engines in a store, which are mapped from there; default:
    `~/.longtake/engine-weights`. It takes room for all weights of the model that is served; engines of less than 64 MB
    have theirs inside. Processes share it; only its owner may write it. What nobody loaded for 30 days goes by itself,
    and each file may be removed at any time: it is fetched again."""


class Scale(Frozen):
    """Least and most replicas of a stage. Where they differ, its backlog decides."""

    min: int = Field(default=1, ge=0, examples=[0])
    """Least replicas. 0: none while nothing is queued or running; the next job waits for a start."""
    max: int = Field(default=1, ge=1, examples=[4])
    """Most replicas; `min` or more."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"`min` is {self.min} and `max` is {self.max}: raise `max`, or lower `min`")
        return self


class Needs(Frozen):
    """What a node of Ray must have for a replica of a stage."""

    num_gpus: float = Field(default=0, ge=0, examples=[1.0])
    """GPUs of Ray's counting that each replica takes; a fraction lets replicas share one."""
    resources: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict, examples=[{"denoise": 1.0}])
    """Ray's custom resources that each replica takes, by name: nodes that offer them are where it goes."""
    surge: bool = True
    """Whether a replica that is replaced goes after its successor has started. False where no node has room for both:
    then it goes first, and what it was at is done by the successor."""


class Stages(Frozen):
    """The Ray Serve deployments."""

    replicas: dict[StageName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict, examples=[{"renderer": 2}])
    """A fixed number of replicas by stage; 1 where a stage is not named."""
    scale: dict[StageName, Scale] = Field(default_factory=dict, examples=[{"denoiser": {"min": 0, "max": 4}}])
    """Stages that are scaled by their backlog, each with its least and most replicas. A stage stands here or in
    `replicas`, not in both."""
    needs: dict[StageName, Needs] = Field(default_factory=dict, examples=[{"denoiser": {"num_gpus": 1}}])
    """What a replica needs of its node, by stage; nothing where a stage is not named. One that no node can have waits
    for such a node."""
    backlog_s: float = Field(default=30.0, gt=0)
    """Seconds of predicted work per replica that may be queued or running before another replica is started: about how
    long work may wait."""
    down_delay_s: float = Field(default=60.0, ge=0)
    """Seconds that fewer replicas must have been enough before any is taken away. Longer than a start takes, so that a
    short lull costs none."""
    idle_s: float = Field(default=300.0, ge=0)
    """Seconds without any work before a stage goes down to its `min`, which may be none."""
    engine_threads: int = Field(default=0, ge=0)
    """Threads that each engine computes with; 0: one per core. Fewer where many replicas share a machine."""
    slice_s: float = Field(default=5.0, gt=0)
    """Seconds that a call to the Denoiser may take at most, after which the Director decides anew. Slices are 0.5 s at
    most anyway; a replica that is stopped gets three times this to finish its own."""
    slots: int = Field(default=4, ge=1)
    """Jobs that the Director runs at once, urgent ones aside; at least as many as Denoisers, or some would idle."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.replicas:
            if name in self.scale:
                raise ValueError(f"`replicas` and `scale` both name {name}: keep one of them")
        denoisers = self.scale_of(DENOISER).max
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
    def kept(self) -> tuple[StageName, ...]:
        """Stages that always have a replica."""
        return tuple(stage for stage in STAGES if self.scale_of(stage).min)

    @property
    def autoscaled(self) -> bool:
        """Whether any stage is scaled by its backlog."""
        return any(scale.min != scale.max for scale in self.scale.values())


class Director(Frozen):
    """Where the front door finds the Director."""

    address: str | None = Field(default=None, examples=["127.0.0.1:9000"])
    """host:port of Serve's gRPC proxy. None: as `longtake up` wrote it to the store."""


class TenantAdmission(Frozen):
    """What is different for one tenant; what is left out is as in `admission`."""

    max_active_jobs: int | None = Field(default=None, ge=1, examples=[1000])
    """As `admission.max_active_jobs`, for this tenant. None: as there."""
    creates_per_minute: float | None = Field(default=None, gt=0, examples=[120.0])
    """As `admission.creates_per_minute`, for this tenant. None: as there."""
    most_urgent: int | None = Field(default=None, ge=0, le=9, examples=[0])
    """As `admission.most_urgent`, for this tenant. None: as there."""
    max_stored_bytes: int | None = Field(default=None, ge=1, examples=[1_000_000_000_000])
    """As `admission.max_stored_bytes`, for this tenant. None: as there."""
    weight: float = Field(default=1.0, gt=0, examples=[2.0])
    """Its share of the engines while others wait too: a tenant of weight 2 gets twice what one of weight 1 gets."""


class Admission(Frozen):
    """Bounds of the queue, and how tenants share the stages."""

    max_active_jobs: int = Field(default=10_000, ge=1)
    """Queued and running jobs per tenant before creates are refused: one tenant cannot fill the queue of all."""
    max_all_jobs: int = Field(default=100_000, ge=1)
    """The same for all tenants together."""
    creates_per_minute: float | None = Field(default=None, gt=0, examples=[60.0])
    """Creates per tenant and front-door process; a minute's worth may come at once. None: as many as the queue takes.
    Each front door counts for itself."""
    most_urgent: int = Field(default=1, ge=0, le=9)
    """The most urgent priority that a tenant may ask for. 0 goes before other tenants' work, so it is given by name."""
    max_stored_bytes: int | None = Field(default=None, ge=1, examples=[100_000_000_000])
    """Bytes of videos, pictures and files that a tenant may have in the store before its creates and uploads are
    refused. They are counted once a minute. None: as many as the store takes."""
    tenants: dict[str, TenantAdmission] = Field(
        default_factory=dict, examples=[{"studio": {"max_active_jobs": 1000, "most_urgent": 0, "weight": 2.0}}]
    )
    """Other bounds and shares for single tenants, by name."""

    @property
    def weights(self) -> dict[str, float]:
        """Fair shares by tenant, those of weight 1 left out."""
        return {name: tenant.weight for name, tenant in self.tenants.items() if tenant.weight != 1.0}


class Retention(Frozen):
    """How long videos are kept, and what the collector (`longtake gc`) spares."""

    video_ttl_s: int | None = Field(default=None, ge=60, examples=[2_592_000])
    """Seconds after its end that a video is deleted; None: never. One that has an end of its own goes when the first
    of the two is there."""
    tenants: dict[str, Annotated[int, Field(ge=60)] | None] = Field(default_factory=dict, examples=[{"studio": 86_400}])
    """Seconds for single tenants, by name, instead of `video_ttl_s`. None: never; TOML has no word for it, the
    environment's JSON has `null`."""
    margin_s: float = Field(default=3600.0, ge=600)
    """Seconds; whatever is younger is spared. Longer than any call to the front door takes, and than clocks differ."""
    cache_ttl_s: int = Field(default=30 * 86_400, ge=3600)
    """Seconds that a cached embedding or picture is kept; 30 days. Later it is computed again, which costs time and
    changes nothing."""


class Settings(BaseSettings):
    """All settings: two that stand alone, and the groups."""

    model_config = SettingsConfigDict(env_prefix="LONGTAKE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    store: str = Field(
        default_factory=lambda: str(in_home("store", instead="name the store (--store, LONGTAKE_STORE)")),
        examples=["s3://127.0.0.1:9000/longtake/main?secure=false"],
    )
    """Where everything is kept: a directory, or `s3://host:port/bucket/prefix`, with `?secure=false` for plain HTTP and
    `region=...` where it is not us-east-1. `dir:///path?local=true` where you know that a directory is this machine's
    alone, though its file system is of a kind that is not known to be local."""
    model: str = "sprite-1"
    """Name of the model that is served, and that a request gets which names none."""
    grpc: Grpc = Grpc()
    http: Http = Http()
    auth: Auth = Auth()
    uploads: Uploads = Uploads()
    video: Video = Video()
    engines: Engines = Field(default_factory=Engines)
    stages: Stages = Stages()
    director: Director = Director()
    admission: Admission = Admission()
    retention: Retention = Retention()

    def of_stages(self) -> dict[str, Any]:
        """What the Director and the stages read, as JSON has it: when the rest changes, none of them is replaced."""
        dump = self.model_dump(mode="json", include={"store", "model", "engines", "stages", "retention"})
        tenants = {name: {"weight": weight} for name, weight in self.admission.weights.items()}
        return {**dump, "admission": {"tenants": tenants}}

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
    settings = read_settings(**flags)
    _check(settings)
    return settings


def read_settings(**flags: Any) -> Settings:
    """The same, without what must be there to serve with them. Raises `SettingsError`."""
    config = os.environ.get("LONGTAKE_CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError(f"LONGTAKE_CONFIG names {config}, which is not a file")
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise SettingsError(_in_words(error.errors()[0])) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config} is no TOML: {error}") from error
    except UnparsedVariable as error:
        raise SettingsError(f"the environment, where a table is JSON: {error}: {error.__cause__}") from error


def _in_words(found: ErrorDetails) -> str:
    """What is wrong with a setting, by its name."""
    name = ".".join(str(part) for part in found["loc"] if part != "[key]")
    match found["type"]:
        case "extra_forbidden":
            return f"setting `{name}`: there is no such setting; `docs/settings.md` has all that there are"
        case "value_error":
            return f"setting `{name}`: {found['msg'].removeprefix('Value error, ')}"
    return f"setting `{name}`: {found['msg']} (it is {found['input']!r})"


def _check(settings: Settings) -> None:
    if (settings.grpc.tls_cert is None) != (settings.grpc.tls_key is None):
        raise SettingsError("settings `grpc.tls_cert` and `grpc.tls_key` come together: set both or neither")
    if settings.auth.keys_file is None:
        if not is_loopback(settings.grpc.address):
            raise SettingsError(
                f"setting `grpc.address` is {settings.grpc.address}, which others can reach: set `auth.keys_file`, or "
                "use 127.0.0.1"
            )
    elif not settings.auth.keys_file.is_file():
        raise SettingsError(f"setting `auth.keys_file`: {settings.auth.keys_file} is not a file")


def split_address(address: str) -> tuple[str, int]:
    """`host:port` → (host, port). Raises `SettingsError`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
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
