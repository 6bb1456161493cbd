"""A prompt as the Wan models were trained to read it: cleaned, cut into the checkpoint's own tokens, filled up.

`family.py` calls it as it serves. Needs the extra `longtake[wan]`: tokenizers, and ftfy, which mends text whose letters
were garbled on the way; diffusers' pipelines clean prompts in the same steps.
"""

from __future__ import annotations

import html
import re
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engines.checkpoints.files import Files, read_small
from engines.errors import CheckpointUnfit
from engines.families.wan.architecture import TEXT_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE: Final = "tokenizer/tokenizer.json"


def clean(prompt: str) -> str:
    """Letters mended, entities resolved, spaces single. Cleaning twice is cleaning once, save for nested entities."""
    import ftfy

    mended: str = ftfy.fix_text(prompt)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(mended)).strip()).strip()


class Tokens:
    """The tokenizer of one checkpoint, loaded when it is first used: who only reads capabilities needs none."""

    def __init__(self, files: Files, *, words: int, pad_id: int) -> None:
        """`words`: what the text encoder knows, ids below it; `pad_id` is one of them."""
        self._files = files
        self._words = words
        self._pad_id = pad_id

    def of(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask, each int64 [1, 512]; what is longer is cut off before the end token."""
        ids = self._tokenizer.encode(text).ids
        padded = np.full((1, TEXT_TOKENS), self._pad_id, np.int64)
        mask = np.zeros((1, TEXT_TOKENS), np.int64)
        padded[0, : len(ids)], mask[0, : len(ids)] = ids, 1
        return padded, mask

    def beyond(self, text: str) -> int:
        """How many of its tokens `of` cuts off."""
        cut = self._tokenizer.encode(text).overflowing
        return sum(part.special_tokens_mask.count(0) for part in cut)

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        """Raises `CheckpointUnfit` for a file that is none, and for one with tokens that the text encoder lacks."""
        from tokenizers import Tokenizer

        data = read_small(self._files, FILE)
        try:
            tokenizer = Tokenizer.from_str(data.decode())
        except Exception as error:  # the library raises this very class
            raise CheckpointUnfit(f"{FILE}: no tokenizer ({error}); save it again, with transformers") from error
        # What ends each text need not be among the words.
        highest = max([*tokenizer.get_vocab().values(), *tokenizer.encode("").ids], default=0)
        if highest >= self._words:
            raise CheckpointUnfit(
                f"{FILE}: has a token {highest}, where the text encoder's vocab_size is {self._words}; take both from "
                "one place"
            )
        tokenizer.no_padding()
        tokenizer.enable_truncation(TEXT_TOKENS)
        return tokenizer
