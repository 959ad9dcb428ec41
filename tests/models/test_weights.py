"""Weights from a file: names as DataParallel has them, and one line for everything else."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from support.damage import damaged, read_or_refused
from torch import nn

from latprof.errors import UsageError
from latprof.models import load_weights


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def test_a_state_dict_and_its_wrapped_forms(tmp_path: Path) -> None:
    trained, path = net(), tmp_path / "w.pt"
    nn.init.ones_(trained[0].weight)
    for prefix in ("", "module.", "_orig_mod.", "module._orig_mod."):
        torch.save({f"{prefix}{n}": t for n, t in trained.state_dict().items()}, path)
        model = net()
        load_weights(model, path)
        assert all(
            torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True)
        )


def wrong(path: Path, what: str) -> None:
    if what == "a pickled model":
        torch.save(net(), path)
    elif what == "text":
        path.write_text("epoch,loss\n1,0.5\n")
    elif what == "nothing":
        path.write_bytes(b"")
    elif what == "a list":
        torch.save([torch.ones(2)], path)
    elif what == "a checkpoint":
        torch.save({"epoch": 3, "state_dict": net().state_dict()}, path)
    elif what == "another network":
        torch.save(nn.Sequential(nn.Linear(4, 8)).state_dict(), path)
    elif what == "another size":
        torch.save(
            {n: t if n != "0.weight" else t[:3] for n, t in net().state_dict().items()}, path
        )


WRONG: dict[str, str] = {
    "a missing file": "no such file",
    "a pickled model": "holds more than tensors, such as a whole pickled model",
    "text": "expected .*torch.save",
    "nothing": "torch.load cannot read it",
    "a list": "it holds list; expected a state dict",
    "a checkpoint": "it is a checkpoint of epoch, state_dict",
    "another network": r"of another network: it has no 1\.bias \(7 names missing, 0 unknown\)",
    "another size": r"0\.weight is \(3, 4\); expected \(8, 4\)",
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_state_dict_is_told(what: str, tmp_path: Path) -> None:
    path, model = tmp_path / "w.pt", net()
    wrong(path, what)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    with pytest.raises(UsageError, match=WRONG[what]) as told:
        load_weights(model, path)
    assert "\n" not in str(told.value)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def whole() -> bytes:
    data: Any = io.BytesIO()
    torch.save(net().state_dict(), data)
    return bytes(data.getvalue())


@settings(max_examples=150, deadline=5000)
@given(data=damaged(whole()))
def test_damaged_files_are_refused_in_one_line(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w.pt")
        path.write_bytes(data)
        read_or_refused(lambda: load_weights(net(), path))
