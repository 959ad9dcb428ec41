"""Recipes: with a version and a checksum, and refused in one line where they do not hold."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.damage import damaged, read_or_refused
from torch import Tensor, nn

from latprof.compress import load_shrunk, recipe_of, shrink, trace
from latprof.errors import UsageError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def recipe() -> dict[str, Any]:
    torch.manual_seed(0)
    model = Net()
    graph = trace(model, torch.randn(1, 3, 8, 8))
    mask = (torch.arange(8) % 2).float()
    return recipe_of(model, shrink(model, graph, {graph.prunable[0].name: mask}))


RECIPE = recipe()


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))
    small = load_shrunk(Net(), tmp_path / "recipe.json")
    assert small.conv.out_channels == small.head.in_features == 4
    assert load_shrunk(Net(), {**RECIPE, "counts": [4, 2]}).norm.num_features == 4  # others' keys


def test_older_versions_have_no_checksum() -> None:
    older = {k: v for k, v in RECIPE.items() if k not in ("sha256", "dropped")}
    assert load_shrunk(Net(), {**older, "latprof_recipe": 2}).conv.out_channels == 4


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"latprof_recipe": 9}, "recipe version is 9; expected at most 4"),
        ({"latprof_recipe": True}, "recipe version is True"),
        ({"tensors": []}, "recipe holds tensors that recipe_of does not write"),
        ({"tensors": {"conv.weight": [4, -3.5]}}, "recipe holds tensors"),
        ({"attributes": {"conv": {"forward": "x"}}}, "recipe holds attributes"),
        ({"model": None}, "recipe holds model"),
        ({"ranks": {"head": 0}}, "recipe holds ranks"),
        ({"dropped": [3]}, "recipe holds dropped"),
        ({"sha256": "0"}, "recipe of Net is damaged: its checksum does not fit"),
        ({"model": "Other"}, "recipe of Other is damaged"),
    ],
)
def test_what_is_no_recipe(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_shrunk(Net(), {**RECIPE, **change})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"attributes": {"conv": {"forward": 3}}}, "conv has no size 'forward'"),
        ({"attributes": {"nowhere": {"width": 3}}}, "recipe of Net: AttributeError"),
        ({"dropped": ["nowhere"]}, "recipe of Net: AttributeError"),
        ({"tensors": {"conv.weight": [16, 3, 3, 3]}}, "expected one that .* fits into"),
    ],
)
def test_another_network(change: dict[str, Any], says: str) -> None:
    older = {k: v for k, v in RECIPE.items() if k != "sha256"}
    with pytest.raises(UsageError, match=says):
        load_shrunk(Net(), {**older, "latprof_recipe": 3, **change})


@settings(max_examples=200, deadline=5000)
@given(data=damaged(json.dumps(RECIPE).encode()) | st.sampled_from([b"[" * 100_000, b"3", b"{}"]))
def test_damage_is_told_or_harmless(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "recipe.json")
        path.write_bytes(data)
        small = read_or_refused(lambda: load_shrunk(Net(), path))
    assert small is None or small.conv.out_channels == small.head.in_features == 4
