"""What is the same of all families over Wan's VAE and text encoder, whatever denoises: the prompt, and previews.

`family.py` builds upon it, and so does Helios (`families/helios`). Nothing here needs torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from engines.checkpoints.files import Files
from engines.errors import CheckpointUnfit
from engines.families.base import (
    Array,
    EngineCall,
    Engines,
    FrameReading,
    Frames,
    PromptReading,
    ReferenceReading,
    Subject,
)
from engines.families.capabilities import Capabilities, Role
from engines.families.history import Before
from engines.families.wan import unipc, video
from engines.families.wan.architecture import TEXT_TOKENS, Parts
from engines.families.wan.tokens import FILE, Tokens, clean


class Around(ABC):
    """The part of a `BuildableFamily` and `PreviewingFamily` that is the same; `_used` says which engines it has."""

    packages: tuple[str, ...] = ("ftfy", "tokenizers")
    probe_prompt = "a cat runs over the hill"
    components: tuple[str, ...]
    uses: Mapping[EngineCall, tuple[str, ...]]

    def __init__(self, files: Files, architecture: Parts, capabilities: Capabilities) -> None:
        """Raises `CheckpointUnfit` for a checkpoint without the tokenizer that is read here."""
        if FILE not in architecture.checkpoint.files:
            raise CheckpointUnfit(f"{FILE}: not there; save the tokenizer again as a fast one, with transformers")
        self.architecture = architecture
        self.capabilities = capabilities
        self.weights = files
        self.uses = self._used()
        self.components = tuple(dict.fromkeys(name for names in self.uses.values() for name in names))
        self._tokens = Tokens(files, words=architecture.words, pad_id=architecture.pad_id)

    def roles(self, prompt: str, references: int) -> tuple[Role, ...]:  # noqa: ARG002  (the denoiser finds out itself)
        """Each is a subject."""
        return tuple("subject" for _ in range(references))

    def read_prompt(
        self,
        prompt: str,
        *,
        seed: int,  # noqa: ARG002  (nothing is drawn for what the prompt leaves open)
        before: Before,  # noqa: ARG002  (this model reads free text)
        segments: int = 1,  # noqa: ARG002  (and one caption for all)
        subject: Subject = "named",  # noqa: ARG002  (it is told no subject)
        inherited: str | None = None,
        negative_prompt: str = "",
    ) -> PromptReading:
        """The prompt, cleaned as the model's own pipeline does."""
        cleaned = clean(prompt) or inherited or ""
        beyond = {
            "prompt": self._tokens.beyond(cleaned),
            "negative prompt": self._tokens.beyond(clean(negative_prompt)),
        }
        told = tuple(
            f"not read: the last {tokens} tokens of the {what}; this model reads {TEXT_TOKENS}"
            for what, tokens in beyond.items()
            if tokens
        )
        return PromptReading((cleaned,), understood=tuple(cleaned.split()), warnings=told)

    def read_frame(self, frame: Frames) -> FrameReading:  # noqa: ARG002  (the clip that is made of it says all)
        """Nothing."""
        return FrameReading()

    def read_reference(self, picture: Frames, role: Role = "subject") -> ReferenceReading:  # noqa: ARG002
        """Refused: raises `ValueError`."""
        raise ValueError("references: this checkpoint takes none")

    def encode_text(self, engines: Engines, effective_prompt: str, negative_prompt: str = "") -> Array:
        """[1024, width]: the prompt's tokens, and after them the negative prompt's."""
        halves = [self._tokens.of(text) for text in (effective_prompt, clean(negative_prompt))]
        inputs = {
            "token_ids": np.concatenate([ids for ids, _ in halves]),
            "mask": np.concatenate([mask for _, mask in halves]),
        }
        text = np.asarray(engines.infer("text_encoder", inputs)["text"], np.float32)
        return text.reshape(-1, text.shape[-1])

    def preview(self, engines: Engines, latents: Array, memory: Mapping[str, Array]) -> Frames:
        """The last latent as it would be without any noise, in blocks of one colour."""
        latent = np.ascontiguousarray(unipc.clean(latents, memory)[-1:])
        (picture,) = video.pixels(np.asarray(engines.infer("preview", {"latent": latent})["picture"], np.float32))
        stride = self.architecture.latent_stride
        blocks: Frames = picture.repeat(stride, 0).repeat(stride, 1)
        return blocks

    @abstractmethod
    def _used(self) -> Mapping[EngineCall, tuple[str, ...]]:
        """See `Family.uses`."""
