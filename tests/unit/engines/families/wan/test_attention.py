"""Attention of Wan's denoiser is that of diffusers to the bit, in a graph without scatters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch", reason="the modules of Wan need longtake[build]")
pytest.importorskip("diffusers", reason="the modules of Wan need longtake[build]")

from engines.families.wan import attention


def layer(**own: Any) -> Any:
    from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor

    torch.manual_seed(0)
    return WanAttention(dim=24, heads=2, dim_head=12, processor=WanAttnProcessor(), **own).eval()


def turns(tokens: int) -> tuple[Any, Any]:
    angles = torch.randn(1, tokens, 1, 6).repeat_interleave(2, -1)
    return angles.cos(), angles.sin()


@pytest.mark.parametrize("half", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("own", "seen"),
    [
        ({}, None),
        ({"cross_attention_dim_head": 12}, 512),
        ({"cross_attention_dim_head": 12, "added_kv_proj_dim": 24}, 257 + 512),
    ],
)
def test_it_is_that_of_diffusers_to_the_bit(half: str, own: Mapping[str, Any], seen: int | None) -> None:
    kind = getattr(torch, half)
    ours, tokens = layer(**own).to(kind), torch.randn(2, 15, 24, dtype=kind)
    context = None if seen is None else torch.randn(2, seen, 24, dtype=kind)
    given = (tokens, context, None, turns(15) if seen is None else None)
    with torch.no_grad():
        wanted = ours(*given)
        attention.put_into(ours)
        found = ours(*given)
    assert torch.equal(found, wanted)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own, within its exporter
def test_its_graph_scatters_nothing() -> None:
    class Turned(torch.nn.Module):
        def forward(self, values: Any, cosine: Any, sine: Any) -> Any:
            return attention.turned(values, (cosine, sine))

    program = torch.export.export(Turned(), (torch.randn(2, 15, 2, 12), *turns(15))).run_decompositions()
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert called
    assert not [name for name in called if "scatter" in name or "index_put" in name or "copy_" in name]


def test_a_mask_is_refused() -> None:
    ours = layer()
    attention.put_into(ours)
    with pytest.raises(ValueError, match="mask"):
        ours(torch.randn(1, 3, 24), attention_mask=torch.ones(1, 3))
