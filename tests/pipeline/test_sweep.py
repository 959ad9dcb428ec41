"""One RUN.toml with several values of some keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="pip install 'latprof[search]'")
pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")
from support.run import Arithmetic, table

import latprof
from latprof.errors import UsageError
from latprof.pipeline import _compress
from latprof.vocabulary import RunResult

PARTS = """
import torch
from support.run import Net, data

def model():
    return Net().eval(), (torch.zeros(1, 1, 12, 12),)
"""
RUN = """
model = "parts.py:model"
data = "parts.py:data"
table = "table.parquet"
out = "runs"
device = "fake"
[masks]
epochs = 2
[fine_tune]
epochs = 1
"""


class Stopped(Exception):
    pass


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A RUN.toml, and the device that is pure arithmetic."""
    (tmp_path / "parts.py").write_text(PARTS)
    table().save(tmp_path / "table.parquet")
    path = tmp_path / "run.toml"
    path.write_text(RUN)

    def device(*args: Any, **settings: Any) -> Arithmetic:
        return Arithmetic(seed=3, stair=8)

    monkeypatch.setattr(_compress, "open_target", device)
    return path


def test_each_combination_is_a_run_and_what_was_stopped_goes_on(run: Path) -> None:
    stages: list[str] = []

    def stop_in_the_second(row: Any) -> None:
        if len(stages) == 2 and row["step"] == 5:
            raise Stopped

    def on_stage(text: str) -> None:
        if text.startswith("run "):
            stages.append(text)

    grid = ["budget=80%,65%"]
    with pytest.raises(Stopped):
        latprof.sweep(run, grid, on_progress=stop_in_the_second, on_stage=on_stage)
    first, second = stages
    assert {first[-10:], second[-10:]} == {"budget=80%", "budget=65%"}
    found = latprof.sweep(run, {"budget": ["80%", "65%"]}, on_stage=on_stage)
    assert stages == [first, second, second]
    assert [r.values for r in found.runs] == [{"budget": "80%"}, {"budget": "65%"}]
    large, small = (r.result for r in found.runs)
    assert large.compressed.latency_s > small.compressed.latency_s
    for each in found.runs:
        assert each.result == RunResult.load(each.folder / "result.json")
        assert each.folder.parent == run.parent / "runs"
        assert (each.folder / "run.toml").read_text().startswith("# changed: budget = '")
    assert [r["folder"] for r in found.to_dict()["runs"]] == [str(r.folder) for r in found.runs]


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ([], "expected keys with values"),
        (["budget"], "expected KEY=VALUE"),
        (["budget=60%,"], "expected KEY=VALUE"),
        (["budget=60%", "speed=1"], "unknown key speed"),
        (["budget=60%,fast"], "budget is 'fast'"),
        (["seed.x=1"], "unknown key seed|seed is"),
        (["model.x=1"], "expected a section"),
        (["out=a,b"], "grid changes out"),
    ],
)
def test_what_a_run_file_cannot_have_is_refused_before_any_run(
    run: Path, grid: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        latprof.sweep(run, grid)
    assert not (run.parent / "runs").exists()
