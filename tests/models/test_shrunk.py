"""A run's network in a folder of its own, on a hub, and loaded again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from support.hub import hub
from support.run import Net, fake_run
from torch import nn

import latprof
from latprof import zoo
from latprof.errors import UsageError
from latprof.vocabulary import RunResult

pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, RunResult]:
    done, result = fake_run(tmp_path_factory.mktemp("run") / "out", trail=1)
    return done.small, result


def assert_same(again: nn.Module, small: nn.Module) -> None:
    state = again.state_dict()
    assert state.keys() == small.state_dict().keys()
    for name, tensor in small.state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_a_network_has_a_folder_of_its_own(
    run: tuple[nn.Module, RunResult], tmp_path: Path
) -> None:
    small, result = run
    folder = result.save_pretrained(tmp_path / "small")
    assert {f.name for f in folder.iterdir()} == {
        "README.md",
        "shrunk.json",
        "shrunk.safetensors",
    }
    again = latprof.load_shrunk(Net(), folder)
    assert_same(again, small)
    assert not again.training
    card = (folder / "README.md").read_text()
    assert re.search(r"^\| original \|.*\n\| compressed \|", card, re.M)
    first = result.save_pretrained(tmp_path / "first", name="trail/1")
    widths = [
        sum(p.numel() for p in latprof.load_shrunk(Net(), f).parameters()) for f in (first, folder)
    ]
    assert widths[0] > widths[1]


def test_code_of_ones_own_is_to_be_given(run: tuple[nn.Module, RunResult], tmp_path: Path) -> None:
    folder = run[1].save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"a network made of Net, which code of your own builds"):
        latprof.load_shrunk(folder)
    recipe = json.loads((folder / "shrunk.json").read_text())
    for model in ("os:getcwd", "file.py:make", "timm:hf-hub:user/name", "transformers:user/name"):
        recipe["source"] = {"model": model, "classes": None}
        (folder / "shrunk.json").write_text(json.dumps(recipe))
        with pytest.raises(UsageError, match="code of your own"):
            latprof.load_shrunk(folder)


def test_a_named_network_needs_nothing_else(tmp_path: Path) -> None:
    model, inputs = zoo.mobilenet_v3_small()
    graph = latprof.trace(model, inputs)
    group = graph.prunable[0]
    keep = torch.ones(group.size)
    keep[::2] = 0
    small = latprof.shrink(model, graph, {group.name: keep})
    source = {"model": "zoo:mobilenet_v3_small", "classes": None}
    latprof.save_shrunk(tmp_path / "small", model, small, source=source)
    again = latprof.load_shrunk(tmp_path / "small")
    with torch.no_grad():
        assert torch.equal(again(*inputs), small.eval()(*inputs))


def test_what_is_missing_or_damaged_is_said(
    run: tuple[nn.Module, RunResult], tmp_path: Path
) -> None:
    _, result = run
    with pytest.raises(UsageError, match="the run has no network 'trail/9'; it has trail/1, compr"):
        result.save_pretrained(tmp_path / "small", name="trail/9")
    folder = result.save_pretrained(tmp_path / "small")
    with pytest.raises(UsageError, match="is not there; expected a folder"):
        latprof.load_shrunk(tmp_path / "nothing")
    weights = folder / "shrunk.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(UsageError, match="cannot be loaded"):
        latprof.load_shrunk(Net(), folder)
    shutil.copy(folder / "shrunk.json", tmp_path / "alone.json")
    with pytest.raises(UsageError, match="cannot be loaded"):
        latprof.load_shrunk(Net(), tmp_path / "alone")


def test_weights_of_the_former_version_are_read(tmp_path: Path) -> None:
    model, inputs = zoo.mobilenet_v3_small()
    small = latprof.shrink(model, latprof.trace(model, inputs), {})
    latprof.save_shrunk(tmp_path / "small", model, small)
    (tmp_path / "small.safetensors").unlink()
    torch.save(small.state_dict(), tmp_path / "small.pt")
    assert latprof.load_shrunk(model, tmp_path / "small") is not None


def test_a_hub_holds_it(
    run: tuple[nn.Module, RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip(
        "huggingface_hub.constants", reason="pip install 'latprof[hub]'"
    )
    small, result = run
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_standin")
    with hub() as (address, files):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants,
            "HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        assert result.push_to_hub("me/small", private=True).endswith("me/small")
        assert sorted(files) == [
            "me/small/README.md",
            "me/small/shrunk.json",
            "me/small/shrunk.safetensors",
        ]
        with pytest.raises(UsageError, match="made of Net"):
            latprof.load_shrunk("me/small")
        again = latprof.load_shrunk(Net(), "me/small")
        assert_same(again, small)
        with pytest.raises(UsageError, match="me/other is no folder, and the hub gives"):
            latprof.load_shrunk("me/other")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(UsageError, match=r"me/small was not written: .*; log in with: hf auth"):
        result.push_to_hub("me/small")
