"""Settings that front doors read: where they listen, who may call, what is taken in, and how much of it.

`settings.py` puts them together, and everybody imports them from there.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from serving.frozen import Frozen
from serving.requests import Codec


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
    connection_s: int | None = Field(default=None, ge=1, le=86_400, examples=[300])
    """Seconds after which a client is asked to connect anew; calls of the old connection go on to their end. Where
    front doors come and go behind one address, it spreads clients, and nobody is left at one that was taken out so long
    ago, and a tenth more: a call that reaches a server while it stops ends as CANCELLED. None: never."""


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
