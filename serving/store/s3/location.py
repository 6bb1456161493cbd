"""Where an S3 store is, and how it is reached. `store.py` reads it once, when it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from serving.errors import StoreUnfit


@dataclass(frozen=True)
class S3Location:
    """`s3://host:port/bucket/prefix?secure=false&region=us-east-1`."""

    endpoint: str
    bucket: str
    prefix: str
    secure: bool
    region: str

    @classmethod
    def parse(cls, url: str) -> S3Location:
        """Raises `StoreUnfit` naming what is wrong."""
        parts = urlsplit(url)
        bucket, _, prefix = parts.path.lstrip("/").partition("/")
        options = dict(parse_qsl(parts.query))
        unknown = set(options) - {"secure", "region"}
        if not parts.netloc or not bucket or unknown or "@" in parts.netloc:
            raise StoreUnfit(
                f"store {url!r}: write s3://host:port/bucket/prefix?secure=false&region=us-east-1; "
                "keys come from LONGTAKE_S3_ACCESS_KEY and LONGTAKE_S3_SECRET_KEY"
            )
        return cls(
            endpoint=parts.netloc,
            bucket=bucket,
            prefix=f"{prefix.strip('/')}/" if prefix.strip("/") else "",
            secure=options.get("secure", "true").lower() != "false",
            region=options.get("region", "us-east-1"),
        )
