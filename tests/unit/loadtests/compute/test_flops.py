"""FLOPs are those that one counts by hand, attention among them."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.compute import flops
from tests.unit.engines.families.wan import checkpoints

torch: Any = pytest.importorskip("torch", reason="torch counts")


def test_a_linear_layer_is_two_for_each_weight_and_row() -> None:
    assert flops.flops(torch.nn.Linear(3, 5), [torch.zeros(7, 3)]) == 2 * 7 * 3 * 5


def test_a_convolution_is_two_for_each_weight_and_place() -> None:
    layer = torch.nn.Conv2d(3, 4, 3, padding=1)

    assert flops.flops(layer, [torch.zeros(2, 3, 5, 6)]) == 2 * 2 * 5 * 6 * 4 * 3 * 3 * 3


def test_fused_attention_is_its_two_products() -> None:
    class Attention(torch.nn.Module):  # type: ignore[misc]
        def forward(self, query: Any, key: Any) -> Any:
            return torch.nn.functional.scaled_dot_product_attention(query, key, key)

    heads, queries, keys, width = 2, 5, 9, 4

    found = flops.flops(Attention(), [torch.zeros(1, heads, queries, width), torch.zeros(1, heads, keys, width)])

    assert found == heads * 2 * (2 * queries * keys * width)


def test_a_wan_is_what_its_layers_are_by_hand() -> None:
    pytest.importorskip("diffusers", reason="the module is diffusers' own")
    transformer = checkpoints.pipeline("text").transformer
    said = checkpoints.TRANSFORMER
    batch, frames, height, width, text = 2, 3, 4, 6, 512
    heads, head = said["num_attention_heads"], said["attention_head_dim"]
    wide, channels, inner = heads * head, said["in_channels"], said["ffn_dim"]
    tokens = frames * (height // 2) * (width // 2)

    patches = tokens * 4 * channels * wide
    time = said["freq_dim"] * wide + wide * wide + wide * 6 * wide
    texts = text * (said["text_dim"] * wide + wide * wide)
    to_itself = 4 * tokens * wide * wide + 2 * tokens * tokens * wide
    to_text = 2 * tokens * wide * wide + 2 * text * wide * wide + 2 * tokens * text * wide
    layer = to_itself + to_text + 2 * tokens * wide * inner
    out = tokens * wide * 4 * channels
    by_hand = 2 * batch * (patches + time + texts + said["num_layers"] * layer + out)

    values = (
        torch.zeros(batch, channels, frames, height, width),
        torch.zeros(batch),
        torch.zeros(batch, text, said["text_dim"]),
    )
    assert flops.flops(transformer, values) == by_hand


def test_a_rate_is_of_as_many_calls_as_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def call() -> None:
        clock[0] += 0.02

    assert flops.rate(10**9, call) == pytest.approx(1 / 0.02)


def test_threads_are_as_they_were_afterwards() -> None:
    before = torch.get_num_threads()

    with flops.torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1

    assert torch.get_num_threads() == before
