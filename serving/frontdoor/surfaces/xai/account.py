"""`xai_api.Auth`, `Models` and `BatchMgmt`: what they can mean for a video server. `register.py` registers them."""

# ruff: noqa: N802

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from serving.errors import NotFound, Unimplemented, shown
from serving.frontdoor.create.catalog import Catalog, ServedModel
from serving.frontdoor.edge.rpc import Call
from serving.gen.xai.api.v1 import auth_pb2, models_pb2

ALL_RIGHTS = ("api-key:model:*", "api-key:endpoint:*")
"""A key of Longtake may call everything within its tenant."""


class XaiAuth:
    """`xai_api.Auth`."""

    async def get_api_key_info(self, _: Empty, call: Call) -> auth_pb2.ApiKey:
        """The caller's own key, redacted. Team and user are the tenant: there is nothing below it."""
        caller = call.caller
        return auth_pb2.ApiKey(
            redacted_api_key=caller.key_hint, user_id=caller.tenant, team_id=caller.tenant, name=caller.name,
            api_key_id=caller.api_key_id, acls=ALL_RIGHTS,
        )  # fmt: skip


@dataclass(frozen=True)
class XaiModels:
    """`xai_api.Models`. Video models have no place on this wire: `longtake.v1.Models` lists them."""

    catalog: Catalog

    async def ListLanguageModels(self, _: Empty, _call: Call) -> models_pb2.ListLanguageModelsResponse:
        """None: Longtake serves none."""
        return models_pb2.ListLanguageModelsResponse()

    async def ListEmbeddingModels(self, _: Empty, _call: Call) -> models_pb2.ListEmbeddingModelsResponse:
        """None: Longtake serves none."""
        return models_pb2.ListEmbeddingModelsResponse()

    async def ListImageGenerationModels(self, _: Empty, _call: Call) -> models_pb2.ListImageGenerationModelsResponse:
        """The models that make images."""
        return models_pb2.ListImageGenerationModelsResponse(models=[_image_model(model) for model in self._makers()])

    async def GetLanguageModel(self, request: models_pb2.GetModelRequest, _call: Call) -> models_pb2.LanguageModel:
        """NOT_FOUND: Longtake serves none."""
        raise self._unknown("language", request.name)

    async def GetEmbeddingModel(self, request: models_pb2.GetModelRequest, _call: Call) -> models_pb2.EmbeddingModel:
        """NOT_FOUND: Longtake serves none."""
        raise self._unknown("embedding", request.name)

    async def GetImageGenerationModel(
        self, request: models_pb2.GetModelRequest, _call: Call
    ) -> models_pb2.ImageGenerationModel:
        """One image model, by name or alias."""
        for model in self._makers():
            if request.name in (model.capabilities.model, *model.capabilities.aliases):
                return _image_model(model)
        raise self._unknown("image generation", request.name)

    def _makers(self) -> list[ServedModel]:
        return [model for model in self.catalog.models.values() if model.capabilities.image]

    def _unknown(self, kind: str, name: str) -> NotFound:
        known = ", ".join(model.capabilities.model for model in self._makers())
        return NotFound(
            f"no {kind} model {shown(name)} here: the image generation models are {known}; "
            "longtake.v1.Models/ListModels tells of video models",
            reason="MODEL_NOT_FOUND",
        )


def _image_model(model: ServedModel) -> models_pb2.ImageGenerationModel:
    what = model.capabilities
    inputs = (models_pb2.TEXT, models_pb2.IMAGE) if what.references_max else (models_pb2.TEXT,)
    return models_pb2.ImageGenerationModel(
        name=what.model, version=model.digest[:12], aliases=what.aliases, max_prompt_length=what.max_prompt_chars,
        input_modalities=inputs,
        output_modalities=[models_pb2.IMAGE], system_fingerprint=model.digest[:12],
    )  # fmt: skip


class XaiBatches:
    """`xai_api.BatchMgmt`: not offered."""

    async def _refuse(self, _: Message, _call: Call) -> NoReturn:
        raise Unimplemented(
            "batches are not offered: start each video by Video/GenerateVideo or Video/ExtendVideo (a start returns at "
            "once and the queue keeps the order), images by Image/GenerateImage",
            reason="BATCHES_NOT_OFFERED",
        )

    CreateBatch = GetBatch = ListBatches = CancelBatch = AddBatchRequests = _refuse
    ListBatchRequestMetadata = ListBatchResults = GetBatchRequestResult = _refuse
