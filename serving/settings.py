"""Longtake's settings: read once at the start of a process, frozen, unknown names refused.

Order, strongest first: command-line flags, environment (`LONGTAKE_GRPC__ADDRESS`), the TOML file named by
`LONGTAKE_CONFIG` (or `--config`), defaults. Every process of one installation reads the same settings.

The groups lie in `door_settings.py` and `stage_settings.py`. The text under each setting says its unit, its default
where that is no value, and why it is there. `docs/generate.py` makes docs/settings.md of it, so it is written for those
who run Longtake.
"""

from __future__ import annotations

import ipaddress
import os
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
from serving.errors import SettingsError
from serving.home import in_home
from serving.stage_settings import Engines, Needs, Retention, Scale, Stages

__all__ = [
    "Admission",
    "Auth",
    "Director",
    "Engines",
    "Grpc",
    "Http",
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
    """All settings: two that stand alone, and the groups."""

    model_config = SettingsConfigDict(env_prefix="LONGTAKE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    store: str = Field(
        default_factory=lambda: str(in_home("store", instead="name the store (--store, LONGTAKE_STORE)")),
        examples=["s3://127.0.0.1:9000/longtake/main?secure=false"],
    )
    """Where everything is kept: a directory, or `s3://host:port/bucket/prefix`, with `?secure=false` for plain HTTP and
    `region=...` where it is not us-east-1. `dir:///path?local=true` where you know that a directory is this machine's
    alone, though its file system is of a kind that is not known to be local."""
    model: str = "sprite-2"
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
