"""Services and builds for tests, as users write them."""

from __future__ import annotations

from typing import Any

from operators.api import engine_build, video_model
from operators.api.video_service import Spec
from operators.children.names import Owner

OWNER = Owner("lt", "video", "uid-1")


def spec(**parts: Any) -> Spec:
    """The least that one needs, with other parts."""
    return Spec.model_validate(
        {
            "image": {"name": "longtake:1"},
            "store": {"url": "s3://minio:9000/longtake/main", "credentials": {"existingSecret": "s3"}},
            "frontDoor": {"keysSecret": "keys"},
            **parts,
        }
    )


def build_spec(**parts: Any) -> engine_build.Spec:
    """A build of a model that is added, with other parts."""
    return engine_build.Spec.model_validate(
        {
            "image": {"name": "longtake-build:1"},
            "store": {"url": "s3://minio:9000/longtake/main", "credentials": {"existingSecret": "s3"}},
            "model": "wan-1.3b",
            "source": "s3://minio:9000/checkpoints/wan",
            "trustedKeys": {"configMap": "engine-keys"},
            "signingKeySecret": "signing",
            **parts,
        }
    )


def model_spec(**parts: Any) -> video_model.Spec:
    """A model from a bucket, with other parts."""
    return video_model.Spec.model_validate(
        {
            "image": {"name": "longtake-build:1"},
            "store": {"url": "s3://minio:9000/longtake/main", "credentials": {"existingSecret": "s3"}},
            "source": {"uri": "s3://minio:9000/checkpoints/wan"},
            "trustedKeys": {"configMap": "engine-keys"},
            "signingKeySecret": "signing",
            **parts,
        }
    )
