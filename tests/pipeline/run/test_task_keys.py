"""The keys of a run for a task, data and weights of one's own: what they mean, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchmetrics
from support.training import EXAMPLE, Plain, task

import latprof
from latprof.compress import Classification, Regression, TrainSettings
from latprof.errors import ModelLoadError, UsageError
from latprof.models import load_model, load_weights, outputs_of
from latprof.pipeline.run import RunFile
from latprof.pipeline.run._task_keys import TaskKeys

MINE = """
import torchmetrics
from torch import nn, zeros

def loss(outputs, batch):
    return (outputs - batch[1]).abs().mean()

half = 0.5

class Error(torchmetrics.MeanAbsoluteError):
    pass

def net():
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)), zeros(1, 8)

def odd():
    return nn.Sequential(nn.Linear(8, 4), nn.Conv1d(1, 1, 1)), zeros(1, 1, 8)
"""
BASE = {"model": "mine.py:net", "data": "mine.py:data", "table": "t.parquet", "out": "run"}


def keys(**given: Any) -> RunFile:
    return RunFile.of({**BASE, **given}, Path())


def test_names_become_a_task(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    plain = TaskKeys.of({}).resolve(tmp_path)
    assert type(plain) is Classification
    assert TaskKeys().to_text() == {}
    assert type(TaskKeys.of({"task": "regression"}).resolve(tmp_path)) is Regression
    named = {"loss": "mine.py:loss", "metric": "mine.py:Error"}
    mine = TaskKeys.of(named).resolve(tmp_path)
    assert (mine.metric, mine.higher_is_better) == ("Error", False)
    batch = (torch.zeros(2, 4), torch.full((2, 4), 0.5))
    assert float(mine.loss(torch.zeros(2, 4), batch)) == 0.5
    assert TaskKeys.of(named).to_text()["task"].startswith("task classification, loss mine.py:loss")
    given = TaskKeys.of({"metric": torchmetrics.MeanSquaredError(), "task": Regression()})
    assert given.resolve(tmp_path).metric == "MeanSquaredError"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"task": "detection"}, "task is 'detection'; expected one of classification"),
        ({"loss": "loss"}, "loss is 'loss'; expected module:function"),
        ({"metric": 3}, "metric is 3; expected module:function"),
        ({"higher_is_better": "yes"}, "higher_is_better is 'yes'; expected true or false"),
        ({"classes": 0}, "classes is 0; expected a whole number >= 1"),
        ({"columns": {"text": "a"}}, "columns is for data that begins with one of folder:"),
        ({"data": "csv:a.csv", "columns": {"txt": "a"}}, "unknown key columns.txt"),
        ({"data": "csv:a.csv", "text": {"length": 1}}, "length is 1"),
        ({"data": "folder:a", "images": {"std": [0.0]}}, "std is .0.0.; expected numbers above 0"),
    ],
)
def test_keys_without_sense_are_refused_before_anything_loads(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        keys(**given)


def test_names_that_do_not_import_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    for given, says in (
        ({"loss": "mine.py:gone"}, "loss mine.py:gone: .*no attribute 'gone'"),
        ({"loss": "mine.py:half"}, "loss mine.py:half is a float; expected a callable"),
        ({"metric": "mine.py:loss"}, "which way metric improves is not known"),
    ):
        with pytest.raises(UsageError, match=says):
            TaskKeys.of(given).resolve(tmp_path)


def test_python_values_are_taken_by_the_names_of_the_keys() -> None:
    settings = TrainSettings(7, lr=0.1)
    run = keys(masks=settings, blocks=[latprof.Depth()], method=latprof.LC(), budget="macs=50%")
    assert run.settings.masks is settings
    assert run.settings.blocks == (latprof.Depth(),)
    assert run.settings.method == latprof.LC()


def test_a_model_is_compressed_with_its_data_and_a_run_file_without() -> None:
    data = torch.utils.data.TensorDataset(*task())
    for args, given, says in (
        ((Plain(), EXAMPLE, data), {"table": "t.parquet"}, "test is not given"),
        ((Plain(), EXAMPLE, data, data), {}, "table is not given"),
        ((Plain(), EXAMPLE, data, data), {"table": "t", "classes": 3}, "classes is for a RUN.toml"),
        ((Plain(), EXAMPLE, data, data), {"table": "t", "tabel": "t"}, "unknown key tabel"),
        (("RUN.toml", EXAMPLE), {}, "is a RUN.toml, which names its model and data"),
    ):
        with pytest.raises(UsageError, match=says):
            latprof.compress(*args, **given)


def test_a_head_of_other_classes_and_weights_of_safetensors(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    model, inputs, _ = load_model("mine.py:net", folder=tmp_path, classes=7)
    assert outputs_of(model, inputs) == 7
    body = model[0].weight
    assert load_model("mine.py:net", folder=tmp_path, classes=4)[0][2].out_features == 4
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    other, _, _ = load_model("mine.py:net", folder=tmp_path, classes=7)
    load_weights(other, path)
    assert torch.equal(other[0].weight, body)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UsageError, match="it is damaged, or no safetensors file"):
        load_weights(other, path)
    with pytest.raises(ModelLoadError, match="no linear layer is its head"):
        load_model("mine.py:odd", folder=tmp_path, classes=3)
