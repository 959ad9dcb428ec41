"""Exported programs: loaded with all their inputs, and never running what a crafted file holds."""

from __future__ import annotations

import io
import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from support.damage import damaged, read_or_refused
from torch import Tensor, nn

from latprof.compress import trace
from latprof.compress.graph import Inputs
from latprof.errors import ModelLoadError
from latprof.models import load_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(8, 16), nn.Linear(16, 2)
        self.register_buffer("scale", torch.ones(16))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = torch.relu(self.a(x)) * self.scale + torch.tensor(1.0)
        return self.out(y if mask is None else y * mask)


def saved(path: Path, *, open_batch: bool = False) -> Path:
    kwargs = {"mask": torch.ones(1, 1)}
    dims = {"x": {0: torch.export.Dim("batch", max=64)}, "mask": None} if open_batch else None
    program = torch.export.export(Net().eval(), (torch.randn(2, 8),), kwargs, dynamic_shapes=dims)
    torch.export.save(program, path)
    return path


@pytest.mark.parametrize("open_batch", [False, True])
def test_positional_and_named_inputs_are_both_given(tmp_path: Path, open_batch: bool) -> None:
    model, inputs, name = load_model(str(saved(tmp_path / "net.pt2", open_batch=open_batch)))
    assert name == "net"
    assert isinstance(inputs, Inputs)
    assert [tuple(t.shape) for t in inputs.leaves] == [(2, 8), (1, 1)]
    assert model(*inputs.args, **inputs.kwargs).shape == (2, 2)
    if not open_batch:
        assert [g.size for g in trace(model, inputs).prunable] == [16]


class Crafted:
    """Makes the file ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, change(name, data))


def in_inputs(path: Path, marker: Path) -> None:
    crafted = io.BytesIO()
    torch.save(((Crafted(marker),), {}), crafted)
    rewritten(path, lambda n, d: crafted.getvalue() if n.endswith("inputs/model.pt") else d)


def in_weights(path: Path, marker: Path) -> None:
    crafted = io.BytesIO()
    torch.save(Crafted(marker), crafted)

    def change(name: str, data: bytes) -> bytes:
        if name.endswith("weights/weight_0"):
            return crafted.getvalue()
        return data.replace(b'"use_pickle": false', b'"use_pickle": true')

    rewritten(path, change)


def in_constants(path: Path, marker: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return data.replace(b'"tensor_0"', b'"opaque_obj_0"')

    rewritten(path, change)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/data/constants/opaque_obj_0", pickle.dumps(Crafted(marker)))


def in_json(change: Callable[[Any, str], None]) -> Callable[[Path, Path], None]:
    def craft(path: Path, marker: Path) -> None:
        code = f"__import__('os').mkdir('{marker}')"

        def edit(name: str, data: bytes) -> bytes:
            if not name.endswith("models/model.json"):
                return data
            program = json.loads(data)
            change(program, code)
            return json.dumps(program).encode()

        rewritten(path, edit)

    return craft


def replace_sizes(value: Any, code: str) -> None:
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if name == "expr_str":
            value[name] = code
        elif isinstance(inner, (dict, list)):
            replace_sizes(inner, code)


def add_guard(program: Any, code: str) -> None:
    program["guards_code"] = [code]


def rename_input(program: Any, code: str) -> None:
    text = json.dumps(program).replace('"x"', json.dumps(f"x={code}"))
    program.clear()
    program.update(json.loads(text))


def call_python(program: Any, code: str) -> None:
    for node in program["graph_module"]["graph"]["nodes"]:
        node["target"] = "torch.os.system"


CRAFTS: dict[str, Callable[[Path, Path], None]] = {
    "its example inputs": in_inputs,
    "a weight": in_weights,
    "a constant": in_constants,
    "a size": in_json(replace_sizes),
    "a guard": in_json(add_guard),
    "an argument's name": in_json(rename_input),
    "the target of a call": in_json(call_python),
}


@pytest.mark.parametrize("place", CRAFTS)
def test_a_crafted_file_runs_nothing(place: str, tmp_path: Path) -> None:
    """The crafted code would make a folder; it is refused, or loaded without running that."""
    path, marker = saved(tmp_path / "net.pt2", open_batch=True), tmp_path / "marker"
    CRAFTS[place](path, marker)

    def use() -> None:
        model, inputs, _ = load_model(str(path))
        model(*inputs.args, **inputs.kwargs)

    read_or_refused(use)
    assert not marker.exists()
    if place != "a guard":  # which is left out, not run
        with pytest.raises(ModelLoadError, match="give --trust if you know"):
            load_model(str(path))


@pytest.mark.parametrize("place", ["its example inputs", "a size"])
def test_the_crafted_files_are_dangerous(place: str, tmp_path: Path) -> None:
    """Loaded as torch loads them, the same files do make the folder."""
    path, marker = saved(tmp_path / "net.pt2", open_batch=True), tmp_path / "marker"
    CRAFTS[place](path, marker)
    with pytest.raises(ModelLoadError):
        load_model(str(path), trust=True)
    assert marker.exists()


def test_a_file_from_a_trusted_place_may_hold_anything(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/extra/notes.txt", "made in a trusted place")
    with pytest.raises(ModelLoadError, match=r"holds '.*notes\.txt'.*--trust"):
        load_model(str(path))
    assert load_model(str(path), trust=True)[2] == "net"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def whole() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return saved(Path(folder, "net.pt2")).read_bytes()


@settings(
    max_examples=60,
    deadline=5000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=damaged(whole()))
def test_damaged_files_are_refused_in_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.pt2")
        path.write_bytes(data)
        read_or_refused(lambda: load_model(str(path)))
