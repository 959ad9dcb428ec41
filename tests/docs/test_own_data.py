"""Every run of docs/guide/own-data.md, on small networks and a device that is pure arithmetic."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.own_data import fake_table, photos, sentences, tiny_bert

import latprof
from latprof.models import load_model
from latprof.vocabulary import RunResult

pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "own-data.md").read_text()
RUNS = re.findall(r"^```toml\n(.*?)^```", PAGE, re.M | re.S)
(PYTHON,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
#: Little training on the fake device, in place of a real one.
QUICK = "\n[masks]\nepochs = {epochs}\n[fine_tune]\nepochs = 1\n"
MINE = """
import torch
from torch import nn

torch.manual_seed(0)
example_inputs = torch.zeros(1, 8)
x = torch.randn(512, 8)
rows = list(zip(x, x.abs()[:, :4]))
train_set, test_set = rows[:448], rows[448:]

def network():
    torch.manual_seed(0)
    layers = [nn.Linear(8, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 4)]
    return nn.Sequential(*layers), example_inputs

model = network()[0]

def data():
    return train_set, test_set

def loss(outputs, batch):
    return (outputs - batch[1]).abs().mean()
"""
NET = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1)]
    layers += [nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64, 10)), torch.zeros(1, 3, 24, 24)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def compress(text: str, epochs: int = 8) -> RunResult:
    Path("RUN.toml").write_text('device = "fake"\n' + text + QUICK.format(epochs=epochs))
    return latprof.compress("RUN.toml")


def test_each_run_is_short() -> None:
    assert len(RUNS) == 3
    for text in (*RUNS, PYTHON):
        assert len([line for line in text.splitlines() if line.strip()]) <= 15


def test_a_folder_of_images(folder: Path) -> None:
    pytest.importorskip("PIL", reason="pip install 'latprof[data]'")
    photos(folder / "photos")
    fake_table(folder / "device.parquet", *load_model("net.py:net", classes=3)[:2])
    text = RUNS[0].replace("timm:mobilenetv3_small_100", "net.py:net")  # timm may not be there
    result = compress(text, epochs=20)
    assert result.met
    assert result.metric == "accuracy"
    assert result.compressed.accuracy > 0.8


def test_a_table_of_sentences(folder: Path) -> None:
    pytest.importorskip("datasets", reason="pip install 'latprof[data]'")
    pytest.importorskip("transformers", reason="pip install 'latprof[models]'")
    tiny_bert(folder / "minilm")
    sentences(folder / "train.csv", 256)
    sentences(folder / "test.csv")
    model, _, _ = load_model("transformers:minilm", classes=2, folder=folder)
    example = {
        name: torch.ones(1, 32, dtype=torch.int64)
        for name in ("input_ids", "token_type_ids", "attention_mask")
    }
    fake_table(folder / "device.parquet", model, example)
    result = compress(RUNS[1])
    assert result.compressed.latency_s < result.original.latency_s
    assert result.compressed.macs < result.original.macs
    assert result.compressed.accuracy > 0.7


def test_a_dataset_loss_and_metric_of_ones_own(folder: Path) -> None:
    spec = importlib.util.spec_from_file_location("mine", folder / "mine.py")
    assert spec is not None
    assert spec.loader is not None
    mine = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mine)
    fake_table(folder / "device.parquet", mine.model, mine.example_inputs)
    code = PYTHON.replace('budget="60%"', 'budget="60%", device="fake"')
    known: dict[str, Any] = {}
    sys.modules["mine"] = mine
    try:
        exec(code, known)
    finally:
        del sys.modules["mine"]
    result = known["result"]
    assert result.met
    assert (result.metric, result.higher_is_better) == ("loss", False)
    assert result.compressed.accuracy < 0.85 * result.original.accuracy  # which was random
    again = RunResult.load(folder / "runs/regression/result.json")
    assert again == result
    same = compress(RUNS[2], epochs=3)
    assert same.metric == "loss"
    assert same.compressed.accuracy == pytest.approx(result.compressed.accuracy, abs=0.3)
