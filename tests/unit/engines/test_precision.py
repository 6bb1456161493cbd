"""What may be asked of precision, by component, and how variants are called after it."""

from __future__ import annotations

import pytest

from engines import precision
from engines.manifest import missing_message

COMPONENTS = ("text_encoder", "dit", "vae_decoder_first", "vae_decoder_step")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", ["float32"] * 4),
        ("bf16", ["bfloat16"] * 4),
        ("dit=bf16", ["float32", "bfloat16", "float32", "float32"]),
        ("dit=bf16,vae=fp16", ["float32", "bfloat16", "float16", "float16"]),
        ("vae_decoder_step=fp32, vae=fp16", ["float32", "float32", "float16", "float32"]),
    ],
)
def test_one_word_is_for_all_and_names_are_for_components_and_their_families(asked: str, found: list[str]) -> None:
    assert precision.read(asked, COMPONENTS) == dict(zip(COMPONENTS, found, strict=True))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("half", "'half' is none; there is fp32, bf16, fp16"),
        ("dit=int8", "'int8' is none; there is fp32, bf16, fp16"),
        ("unet=bf16", "no component 'unet'; there is text_encoder, dit, vae_decoder_first, vae_decoder_step"),
        ("=bf16", "no component ''"),
        ("dit=bf16,", "no component ''"),
        ("dit=bf16,dit=fp32", "dit is named twice"),
    ],
)
def test_what_is_no_precision_or_no_component_is_told_with_what_there_is(asked: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^--precision.*{told}"):
        precision.read(asked, COMPONENTS)


@pytest.mark.parametrize(
    ("asked", "suffix"),
    [("fp32", ""), ("bf16", "-bf16"), ("dit=bf16", "-dit.bf16"), ("vae=fp16,dit=bf16", None)],
)
def test_a_variant_says_how_it_computes_and_can_be_asked_for_again(asked: str, suffix: str | None) -> None:
    found = precision.read(asked, COMPONENTS)
    name = precision.suffix(found)
    assert suffix is None or name == suffix
    runtime, device, said = precision.in_variant(f"tensorrt_rtx-sm89{name}")
    assert (runtime, device) == ("tensorrt_rtx", "sm89")
    assert precision.read(said, COMPONENTS) == found


def test_who_has_no_engines_is_told_how_to_build_those_of_that_precision() -> None:
    told = missing_message("wan-1.3b", "engines", "tensorrt_rtx-sm89-dit.bf16-text_encoder.bf16")
    assert told.endswith("--runtime tensorrt_rtx --target sm89 --precision dit=bf16,text_encoder=bf16`")
