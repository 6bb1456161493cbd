"""What resources have in common: the image, the object store, and whose engines are trusted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from operators.api.base import Name, Part


class Credentials(Part):
    """A Secret with the object store's keys."""

    existing_secret: Name
    """Its name, in the service's namespace."""
    access_key: str = Field(default="access-key", max_length=253)
    """Key of the Secret under which the access key stands."""
    secret_key: str = Field(default="secret-key", max_length=253)
    """Key of the Secret under which the secret key stands."""


class ObjectStore(Part):
    """Where jobs, videos and engines are kept: an S3-compatible store with conditional writes."""

    url: Annotated[
        str,
        Field(
            max_length=1024,
            pattern=r"^s3://[^/?]+/[^?]+(\?.*)?$",
            examples=["s3://minio:9000/longtake/main?secure=false"],
        ),
    ]
    """`s3://host:port/bucket/prefix`, with `?secure=false` for plain HTTP and `region=...` where it is not us-east-1.
    A directory cannot be it: pods on other nodes do not see it."""
    credentials: Credentials


class Images(Part):
    """The container image."""

    name: Annotated[str, Field(min_length=1, max_length=1024, examples=["longtake@sha256:…"])]
    """Image of all pods, but of those that have a field of their own for theirs; pin it by digest where you can."""
    pull_policy: Annotated[str, Field(pattern="^(Always|IfNotPresent|Never)$")] = "IfNotPresent"
    """When nodes pull it."""
    pull_secrets: list[Name] = Field(default_factory=list, max_length=8)
    """Secrets for the registry."""


class EngineKeys(Part):
    """A ConfigMap with public keys, one a line, as `longtake engines trust ls` prints them."""

    config_map: Name
    """Its name, in the service's namespace."""
    key: str = Field(default="trusted", max_length=253)
    """Key of the ConfigMap under which they stand."""


class Grounds(Part):
    """What the pods of any resource stand on."""

    image: Images
    store: ObjectStore
    trusted_keys: EngineKeys | None = None
    """Who may sign engines that lie in the store."""
