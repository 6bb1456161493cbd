"""Longtake's settings: read once at the start of a process, frozen, unknown names refused.

Order, strongest first: command-line flags, environment (`LONGTAKE_GRPC__ADDRESS`), the TOML file named by
`LONGTAKE_CONFIG` (or `--config`), defaults. Every process of one installation reads the same settings.

The groups lie in `door_settings.py` and `stage_settings.py`. The text under each setting says its unit, its default
where that is no value, and why it is there. `docs/generate.py` makes docs/settings.md of it, so it is written for those
who run Longtake.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnparsedVariable

from serving.door_settings import Admission, Auth, Director, Grpc, Http, TenantAdmission, Uploads, Video
from serving.errors import SettingsError, shown
from serving.home import in_home
from serving.stage_settings import Engines, ModelSettings, Needs, Retention, Scale, Stages

__all__ = [
    "Admission",
    "Auth",
    "Director",
    "Engines",
    "GivenSettings",
    "Grpc",
    "Http",
    "ModelSettings",
    "Needs",
    "Retention",
    "Scale",
    "Settings",
    "Stages",
    "TenantAdmission",
    "Uploads",
    "Video",
    "is_loopback",
    "load_settings",
    "read_settings",
    "split_address",
]


class Settings(BaseSettings):
    """All settings: three that stand alone, and the groups."""

    model_config = SettingsConfigDict(env_prefix="LONGTAKE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    store: str = Field(
        default_factory=lambda: str(in_home("store", instead="name the store (--store, LONGTAKE_STORE)")),
        examples=["s3://127.0.0.1:9000/longtake/main?secure=false"],
    )
    """Where everything is kept: a directory, or `s3://host:port/bucket/prefix`, with `?secure=false` for plain HTTP and
    `region=...` where it is not us-east-1. `dir:///path?local=true` where you know that a directory is this machine's
    alone, though its file system is of a kind that is not known to be local."""
    model: str = "sprite-2"
    """Name of the model that a request gets which names none. It is always served."""
    models: dict[str, ModelSettings] = Field(
        default_factory=dict, examples=[{"wan-1.3b": {"needs": {"denoiser": {"num_gpus": 1}}}}]
    )
    """Models that are served beside it, by name, each by stages of its own; a request chooses. What is left out of one
    is as in `stages` and `engines`. `model` may stand here too, where something is different for it."""
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

    @property
    def served(self) -> tuple[str, ...]:
        """The models that are served, the default first."""
        return tuple(dict.fromkeys((self.model, *self.models)))

    def of(self, model: str) -> Settings:
        """As if this model were the only one. Raises pydantic's `ValidationError` where what it has does not fit."""
        own = self.models.get(model, ModelSettings())
        return self.model_copy(
            update={
                "model": model,
                "models": {},
                "stages": self.stages.but(own),
                "engines": self.engines.model_copy(update=own.engines),
            }
        )

    def of_stages(self, model: str) -> dict[str, Any]:
        """What a model's stages read, as JSON has it: when the rest changes, none of them is replaced."""
        return self.of(model).model_dump(mode="json", include={"store", "model", "engines", "stages"})

    def of_director(self) -> dict[str, Any]:
        """What the Director reads at its start, of whichever models there are."""
        dump = self.model_dump(mode="json", include={"store": True, "retention": True, "stages": {"slice_s"}})
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


class GivenSettings(Settings):
    """Settings that another process has read: of this one's environment nothing counts."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given alone."""
        return (init_settings,)


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
        settings = Settings(**flags)
    except ValidationError as error:
        raise SettingsError(_in_words(error.errors()[0])) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config} is no TOML: {error}") from error
    except UnparsedVariable as error:
        raise SettingsError(f"{_unparsed(error)}: in the environment a table is JSON: {error.__cause__}") from error
    for model in settings.models:
        try:
            settings.of(model)
        except ValidationError as error:
            raise SettingsError(_in_words(error.errors()[0], "models", model)) from error
    return settings


def _unparsed(error: UnparsedVariable) -> str:
    """The variable that is no JSON; the error tells its group alone."""
    group = re.search(r'field "(\w+)"', str(error))
    prefix = f"LONGTAKE_{group[1].upper() if group else ''}"
    names = [name for name in sorted(os.environ) if name.upper().startswith(prefix) and not _is_json(os.environ[name])]
    return min(names, key=lambda name: not os.environ[name].lstrip().startswith(("{", "[")), default=prefix)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _in_words(found: ErrorDetails, *within: str) -> str:
    """What is wrong with a setting, by its name."""
    name = ".".join(str(part) for part in (*within, *found["loc"]) if part != "[key]")
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
    number = port.isascii() and port.isdigit()
    if host and number and (len(port) > 5 or int(port) > 65535):
        raise SettingsError(
            f"{shown(address)} is no address: ports are 1 to 65535, 0 for a free one; write host:port, for example "
            "127.0.0.1:50051"
        )
    if not host or not number:
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
