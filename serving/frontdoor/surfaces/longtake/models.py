"""`longtake.v1.Models` on the wire: what the models can do. `register.py` registers it.

Method names are the protos', hence their capitals.
"""

# ruff: noqa: ARG002, N802  (the wire decides names and arguments)

from __future__ import annotations

from dataclasses import dataclass

from engines.families.capabilities import Capabilities, Range
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.edge.rpc import Call
from serving.gen.longtake.v1 import models_pb2
from serving.requests import Codec


@dataclass(frozen=True)
class ModelsService:
    """`longtake.v1.Models`."""

    catalog: Catalog

    async def ListModels(self, request: models_pb2.ListModelsRequest, call: Call) -> models_pb2.ListModelsResponse:
        """All models."""
        default = self.catalog.default
        models = [_message(model, default=model is default) for model in self.catalog.models.values()]
        return models_pb2.ListModelsResponse(models=models)

    async def GetModel(self, request: models_pb2.GetModelRequest, call: Call) -> models_pb2.Model:
        """One model, by name or alias."""
        model = self.catalog.resolve(request.name)
        return _message(model, default=model is self.catalog.default)


def _message(model: ServedModel, *, default: bool) -> models_pb2.Model:
    """What a model can do."""
    can = model.capabilities
    height, width = can.reference_size or (0, 0)
    return models_pb2.Model(
        name=can.model,
        aliases=can.aliases,
        family=can.family,
        description=can.description,
        text_to_video=can.text,
        first_frame=can.first_frame,
        references_max=can.references_max,
        extension=can.extension,
        image=can.image,
        video_sizes=_video_sizes(can),
        image_sizes=_image_sizes(can),
        seconds=_bounds(can.seconds),
        extension_seconds=_bounds(can.extension_seconds),
        steps=_bounds(can.steps),
        fps=can.fps,
        max_prompt_chars=can.max_prompt_chars,
        reference_width=width,
        reference_height=height,
        codecs=[codec.value for codec in Codec],
        digest=model.digest,
        default=default,
        negative_prompt=can.negative_prompt,
    )


def _bounds(bounds: Range) -> models_pb2.Bounds:
    return models_pb2.Bounds(min=bounds.min, max=bounds.max, default=bounds.default)


def _video_sizes(can: Capabilities) -> list[models_pb2.Size]:
    return [
        models_pb2.Size(
            aspect_ratio=canvas.aspect_ratio,
            resolution=name,
            width=canvas.width * times,
            height=canvas.height * times,
        )
        for canvas in can.canvases
        for name, times in can.resolutions.items()
    ]


def _image_sizes(can: Capabilities) -> list[models_pb2.Size]:
    sizes = []
    for canvas in can.canvases:
        for name, longest in can.image_resolutions.items():
            times = max(1, longest // max(canvas.width, canvas.height))
            sizes.append(
                models_pb2.Size(
                    aspect_ratio=canvas.aspect_ratio,
                    resolution=name,
                    width=canvas.width * times,
                    height=canvas.height * times,
                )
            )
    return sizes
