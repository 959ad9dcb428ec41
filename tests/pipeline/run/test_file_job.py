"""Exported files are compressed without their code: they learn to give their own outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from support.own_data import fake_table, photos
from torch import nn

import latprof
from latprof._cli._compress import command
from latprof.compress import export
from latprof.errors import UsageError
from latprof.pipeline.run import RunFile, file_job, file_keys
from latprof.vocabulary import RunResult

pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")

QUICK = {"device": "fake", "masks": {"epochs": 6}, "fine_tune": {"epochs": 2}, "batch": 16}


def net() -> tuple[nn.Module, tuple[torch.Tensor]]:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1)]
    layers += [nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64, 10)).eval(), (torch.zeros(1, 3, 24, 24),)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    model, inputs = net()
    export(model, inputs, tmp_path / "net.onnx")
    with torch.no_grad():
        torch.export.save(torch.export.export(model, inputs), tmp_path / "net.pt2")
    (tmp_path / "net.py").write_text("")
    fake_table(tmp_path / "t.parquet", model, inputs)
    return tmp_path


def compress(file: str, **keys: Any) -> RunResult:
    return latprof.compress(file, table="t.parquet", budget="60%", **QUICK, **keys)


def rows(count: int = 320) -> np.ndarray[Any, Any]:
    dice = np.random.default_rng(0)
    level = dice.standard_normal((count, 3, 1, 1))
    return (dice.standard_normal((count, 3, 24, 24)) + 2 * level).astype("f4")


def test_arrays_without_labels_keep_what_the_file_says(folder: Path) -> None:
    np.savez("inputs.npz", rows())
    result = compress("net.onnx", inputs="inputs.npz")
    assert result.met
    assert result.metric == "agreement with the original"
    assert result.original.accuracy == 1.0
    assert 0.5 < result.compressed.accuracy <= 1.0
    assert Path(result.compressed.file).parent.name == "net-compressed"
    small = latprof.load_shrunk(latprof.load_model("net.onnx")[0], "net-compressed/compressed")
    assert sum(p.numel() for p in small.parameters()) == result.compressed.params


# of torch's own code
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_folder_of_images_and_a_pt2_file(folder: Path) -> None:
    photos(folder / "photos")
    result = compress("net.pt2", inputs="photos", out="run")
    assert result.met
    assert (folder / "run/compressed.onnx").is_file()


def test_a_file_of_whole_batches_alone_is_given_whole_batches(folder: Path) -> None:
    class InPairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, -1)[:, :10] * x.mean()

    program = torch.export.export(InPairs(), (torch.zeros(2, 3, 24, 24),))
    torch.export.save(program, folder / "pairs.pt2")
    np.save("inputs.npy", rows(15))
    keys = file_keys(folder / "pairs.pt2", {"table": "t.parquet", "inputs": "inputs.npy"})
    job = file_job(RunFile.of(keys, folder), Path("inputs.npy"), None)
    assert {len(x) for x, _ in job.batches.epoch(0)} == {2}
    assert job.test_rows == 3
    assert "takes batches of 2 alone" in job.note


def test_random_inputs_are_said_to_be_for_latency_only(folder: Path) -> None:
    stages: list[str] = []
    keys = {**QUICK, "masks": {"epochs": 2}}
    result = latprof.compress(
        "net.onnx", table="t.parquet", budget="60%", on_stage=stages.append, **keys
    )
    assert result.met
    assert any("random numbers stand in" in text for text in stages)


def test_outputs_that_are_no_classes_are_imitated(folder: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 2, 3, 1, 1)).eval()
    inputs = (torch.zeros(2, 3, 24, 24),)
    export(model, inputs, folder / "dense.onnx")
    fake_table(folder / "t.parquet", model, inputs)
    np.save("inputs.npy", rows(64))
    result = compress("dense.onnx", inputs="inputs.npy")
    assert result.metric == "mse"
    assert result.original.accuracy == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"inputs": "none.npz"}, "inputs none.npz: no such file or folder"),
        ({"inputs": "net.py"}, "expected a folder of images, .npz or .npy"),
        ({"inputs": "small.npy"}, r"is \(5, 3, 8, 8\); expected at least 2 rows of \(3, 24, 24\)"),
        ({"inputs": "two.npz"}, "two.npz holds 2 arrays; the network takes"),
        ({"inputs": "empty"}, "empty holds no images; expected .bmp"),
        ({"classes": 3}, "classes is not for an exported file, which has no code and no labels"),
    ],
)
def test_what_cannot_be_is_one_line(folder: Path, keys: dict[str, Any], says: str) -> None:
    np.save("small.npy", np.zeros((5, 3, 8, 8), "f4"))
    np.savez("two.npz", rows(2), rows(2))
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=says):
        compress("net.onnx", **keys)


def test_the_command(folder: Path) -> None:
    np.savez("inputs.npz", rows(64))
    line = "net.onnx --table t.parquet --device fake --budget 90% --inputs inputs.npz --epochs 2"
    done = CliRunner().invoke(command, [*line.split(), "-o", "run", "--json"])
    assert done.exit_code == 0, done.output
    result = RunResult.from_dict(json.loads(done.stdout.splitlines()[-1]))
    assert result.metric == "agreement with the original"
    assert (folder / "run/result.json").is_file()
    refused = CliRunner().invoke(command, ["run.toml", "--budget", "60%"])
    assert "--budget is for a FILE; run.toml says it itself" in refused.output


def test_a_check_of_a_file_trains_nothing(folder: Path) -> None:
    np.savez("inputs.npz", rows(64))
    asked = ["net.onnx", "--table", "t.parquet", "--inputs", "inputs.npz", "--check"]
    ended = CliRunner().invoke(command, asked, catch_exceptions=False)
    assert ended.exit_code == 0
    assert "nothing stands against it" in ended.stdout
    assert not (folder / "net-compressed").exists()
    with pytest.raises(UsageError, match=r"budget 1% is .* less than the least"):
        CliRunner().invoke(command, [*asked, "--budget", "1%"], catch_exceptions=False)
