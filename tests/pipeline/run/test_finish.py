"""A network of the trail that is fine-tuned after the run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.run import Net, fake_run

import latprof
from latprof.compress import Prune, Sparse, TrainSettings
from latprof.errors import UsageError
from latprof.pipeline.run import Compression, load_small

pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")

_RUN: dict[str, Any] = {
    "blocks": (Prune(), Sparse()),
    "budget": "80%, bytes=40%",
    "trail": 2,
    "save_every_s": 0.0,
    "masks": TrainSettings(3, lr=4e-3, final=0.5),
}
_FINISHED = "trail/1-fine-tuned"


#: The step of a fine-tuning that is stopped; empty: none.
stop_at: list[int] = []


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compression]:
    folder = tmp_path_factory.mktemp("runs") / "run"

    def on_progress(row: Any) -> None:
        if stop_at and row["phase"] == "fine_tune" and row["step"] >= stop_at[0]:
            raise Stopped

    return folder, fake_run(folder, on_progress=on_progress, **_RUN)[0]


def _forget(folder: Path) -> None:
    """As if nothing had been fine-tuned."""
    shutil.rmtree(folder / _FINISHED)
    for path in folder.glob(f"{_FINISHED}.*"):
        path.unlink()


def _finished(run: tuple[Path, Compression]) -> Compression:
    _, done = run
    return done.training.finish(done, "trail/1")


def test_its_zeros_stay(run: tuple[Path, Compression]) -> None:
    folder, _ = run
    found = _finished(run)
    assert list(found.trail) == ["trail/1", _FINISHED, "trail/2"]
    before, after = (load_file(folder / f"{name}.safetensors") for name in ("trail/1", _FINISHED))
    assert found.trail["trail/1"][1] == found.trail[_FINISHED][1]
    changed = zeros = 0
    for name, weight in before.items():
        assert after[name].shape == weight.shape
        changed += not torch.equal(after[name], weight)
        if name.endswith("weight") and weight.ndim > 1:
            zeros += int((weight == 0).sum())
            assert (after[name][weight == 0] == 0).all()
    assert changed
    assert zeros


def test_the_run_itself_is_left_as_it_was(run: tuple[Path, Compression]) -> None:
    folder, done = run
    first = {n: t.clone() for n, t in done.comp.state_dict().items() if isinstance(t, torch.Tensor)}
    _finished(run)
    counts, file = done.comp.counts(), (folder / "compressed.safetensors").read_bytes()
    _forget(folder)
    found = _finished(run)
    assert found.small is done.small
    assert done.comp.counts() == counts
    assert (folder / "compressed.safetensors").read_bytes() == file
    for name, tensor in done.comp.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(tensor, first[name]), name


def test_a_stopped_one_goes_on_to_the_same_weights(run: tuple[Path, Compression]) -> None:
    folder, _ = run
    _finished(run)
    first = load_file(folder / f"{_FINISHED}.safetensors")
    _forget(folder)
    stop_at.append(4)
    with pytest.raises(Stopped):
        _finished(run)
    stop_at.clear()
    assert list((folder / _FINISHED).glob("*.checkpoint"))
    _finished(run)
    second = load_file(folder / f"{_FINISHED}.safetensors")
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_later_results_have_it(run: tuple[Path, Compression]) -> None:
    folder, _ = run
    _finished(run)
    _, result = fake_run(folder, **_RUN)
    names = ["original", "trail/1", _FINISHED, "trail/2", "compressed"]
    assert [n.name for n in result.networks] == names
    small, _ = load_small(Net(), folder / _FINISHED)
    assert sum(p.numel() for p in small.parameters()) == result.network(_FINISHED).params


def test_what_was_not_saved_is_refused(run: tuple[Path, Compression], tmp_path: Path) -> None:
    _, done = run
    with pytest.raises(UsageError, match=r"3\.state, the masks of trail/3, is not there"):
        done.training.finish(done, "trail/3")
    config = tmp_path / "run.toml"
    text = 'model = "zoo:lstm"\ndata = "mine:data"\ntable = "t.parquet"\nout = "run"\n'
    config.write_text(text)
    for trail, finish, line in (
        ("trail = 2", "trail/3", "expected one of trail/1, trail/2"),
        ("", "trail/1", r"expected trail = N in the RUN\.toml first"),
        ('keep = "-1%"', "trail/1", "finish is for a run with a budget"),
    ):
        config.write_text(text + trail)
        with pytest.raises(UsageError, match=line):
            latprof.compress(config, finish=finish)
