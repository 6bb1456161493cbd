"""How the components of a model compute: in float32, or in half precision with float32 where half is not enough.

It is chosen by component and not by model: a decoder that half ruins stays in float32 beside a denoiser that takes it.
The commands read it, `manifest.py` calls variants after it, `building` exports and compares by it. Nothing here but the
standard library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

FULL: Final = "float32"
WORDS: Final = {"fp32": FULL, "bf16": "bfloat16", "fp16": "float16"}
"""By what people write: what specs and manifests say."""
HALVES: Final = tuple(name for name in WORDS.values() if name != FULL)
_SAID: Final = {name: word for word, name in WORDS.items()}
Precisions = Mapping[str, str]
"""By component, each of `WORDS`' values."""


def read(text: str, components: Sequence[str]) -> dict[str, str]:
    """What was asked for: `bf16` for all, or `dit=bf16,vae=fp16`, and float32 for what is not named.

    `vae` stands for every component whose name begins so (`vae_decoder_step`); the longer name decides. Raises
    `ValueError`, which names what there is.
    """
    if "=" not in text:
        return dict.fromkeys(components, _read(text) if text else FULL)
    asked: dict[str, str] = {}
    for part in text.split(","):
        name, equals, word = (piece.strip() for piece in part.partition("="))
        if not equals or not any(_stands_for(name, component) for component in components):
            raise ValueError(f"--precision {part}: no component {name!r}; there is {', '.join(components)}")
        if name in asked:
            raise ValueError(f"--precision {part}: {name} is named twice")
        asked[name] = _read(word)
    found = dict.fromkeys(components, FULL)
    for name in sorted(asked, key=len):
        found |= {component: asked[name] for component in components if _stands_for(name, component)}
    return found


def suffix(precisions: Precisions) -> str:
    """What a variant's name ends in: nothing for float32, `-bf16`, or `-dit.bf16` for components that differ."""
    halves = {name: _SAID[kind] for name, kind in sorted(precisions.items()) if kind != FULL}
    if len(halves) == len(precisions) and len(set(halves.values())) == 1:
        return f"-{next(iter(halves.values()))}"
    return "".join(f"-{name}.{word}" for name, word in halves.items())


def in_variant(variant: str) -> tuple[str, str, str]:
    """Runtime, device, and what `read` takes, of a variant's name; nothing for float32."""
    runtime, device, *rest = variant.split("-")
    return runtime, device, ",".join(rest).replace(".", "=")


def _read(word: str) -> str:
    if word not in WORDS:
        raise ValueError(f"--precision: {word!r} is none; there is {', '.join(WORDS)}")
    return WORDS[word]


def _stands_for(name: str, component: str) -> bool:
    return name == component or (bool(name) and component.startswith(f"{name}_"))
