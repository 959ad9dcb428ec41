"""What is kept, how sure figures are, and the data they are judged on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from latprof.compress import (
    Classification,
    DatasetBatches,
    Judgment,
    LowRank,
    OneShot,
    Prune,
    Regression,
    TensorBatches,
    judge,
    with_functions,
)
from latprof.errors import UsageError
from latprof.pipeline.run import Keep, RunFile, SearchSettings, Settings
from latprof.pipeline.search._floor import Floor
from latprof.pipeline.search._held_out import halves, hold_out
from latprof.pipeline.search._search import parameters

RUN = 'model = "zoo:mobilenet_v3_small"\ndata = "m:d"\ntable = "t"\nout = "o"\n'


@pytest.mark.parametrize(
    ("text", "metric", "higher", "floor"),
    [
        ("-1%", "accuracy", True, 0.89),
        ("+0.5%", "accuracy", True, 0.905),
        ("-0%", "accuracy", True, 0.90),
        ("91%", "accuracy", True, 0.91),
        ("0.35", "f1", True, 0.35),
        ("-10%", "f1", True, 0.81),
        ("-10%", "mse", False, 0.99),
        ("1e-2", "mse", False, 0.01),
    ],
)
def test_a_floor_follows_from_the_text(text: str, metric: str, higher: bool, floor: float) -> None:
    assert Keep.parse(text).floor(0.9, metric, higher) == pytest.approx(floor)


@pytest.mark.parametrize("text", ["", "one percent", "-1 ms", "%", "--1%", True])
def test_what_is_no_floor_is_refused(text: Any) -> None:
    with pytest.raises(UsageError, match="expected what may be lost"):
        Keep.parse(text)


def test_what_passes_is_a_standard_error_better_than_the_floor() -> None:
    floor = Floor.of("-1%", Judgment(0.9, 0.01), Classification())
    assert floor.passes(Judgment(0.9, 0.01))
    assert not floor.passes(Judgment(0.9, 0.0101))
    assert floor.would_take(Judgment(0.9, 0.02)) == pytest.approx(0.88)
    error = Floor("1", Judgment(1.0, 0.0), 1.0, higher_is_better=False)
    assert error.passes(Judgment(0.9, 0.09))
    assert not error.passes(Judgment(0.95, 0.1))
    assert error.would_take(Judgment(0.95, 0.1)) == pytest.approx(1.05)


def test_run_files_say_what_to_keep() -> None:
    text = RUN + 'keep = "-1%"\nobjective = "bytes"\n[search]\nsamples = 9\nby = "gp"\n'
    settings = RunFile.parse(text, Path("run.toml")).settings
    assert (settings.keep, settings.objective, settings.budget) == ("-1%", "bytes", "bytes=lowest")
    assert settings.search == SearchSettings(samples=9, by="gp")
    assert RunFile.parse(RUN + "keep = 0.9\n", Path("run.toml")).settings.budget == "lowest"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('keep = "-1%"\nbudget = "60%"', "both given"),
        ('objective = "bytes"', "objective without keep"),
        ("[search]\nsamples = 3", "search without keep"),
        ('keep = "-1%"\nobjective = "speed"', "expected one of latency, throughput"),
        ('keep = "-1%"\n[search]\nby = "luck"', "expected one of bracket, dr-ucb, gp"),
        ('keep = "-1%"\n[search]\nsamples = 0', "whole number >= 1"),
        ('keep = "-1%"\n[search]\nheld_out = 1.0', "held_out is 1.0"),
        ('keep = "-1%"\nmethod = "lc"', "pass no levels"),
        ('keep = "-1%"\nmethod = "paper"', "pass no levels"),
        ('keep = "-1%"\ntrail = 3', "trail beside keep"),
        ('keep = "-1%"\nobjective = ["latency", "latency"]', "expected each once"),
        ('keep = "-1%"\nobjective = []', "objective is ''; expected a string"),
        (
            'keep = "-1%"\nobjective = ["latency", "bytes"]\nsearch.by = "bracket"',
            "by is 'bracket' with several objectives; expected gp",
        ),
        (
            'keep = "-1%"\n[search]\nby = "dr-ucb"\n[search.space]\nlr = [1e-3, 1e-2]',
            r"by is 'dr-ucb' with \[search.space\]; expected gp",
        ),
        ('keep = "-1%"\n[search]\nspace = 3', "search.space is 3; expected a"),
        ('keep = "-1%"\n[search.space]\nepochs = [3]', "unknown key search.space.epochs; expected"),
        ('keep = "-1%"\n[search.space]\nlr = 1e-3', "search.space.lr is 0.001; expected a list"),
        ('keep = "-1%"\n[search.space]\nlr = [1e-2, 1e-3]', r"expected \[lowest, highest\]"),
        ('keep = "-1%"\n[search.space]\nlr = ["a", "b"]', "lr is 'a'; expected a number above 0"),
        ('keep = "-1%"\n[search.space]\nmask_share = [1.5]', "mask_share is 1.5; expected"),
        ('keep = "-1%"\n[search.space]\ndivisor = [4, 4]', "expected each value once"),
        ('keep = "-1%"\n[search.space]\ndivisor = [0]', "expected whole numbers >= 1"),
        ('keep = "-1%"\n[search.space]\nblocks = ["prune"]', "blocks has 'prune'; expected lists"),
        ('keep = "-1%"\n[search.space]\nblocks = [["shave"]]', "expected lists of prune, depth"),
    ],
)
def test_run_files_that_contradict_themselves_are_refused(lines: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        RunFile.parse(RUN + lines, Path("run.toml"))
    with pytest.raises(UsageError, match="pass no levels"):
        Settings(keep="-1%", method=OneShot())


def test_folders_of_before_go_on_and_more_samples_are_the_same_search() -> None:
    assert not {"keep", "objective", "search"} & set(Settings().to_text())
    few, many = (
        Settings(budget="lowest", keep="-1%", search=SearchSettings(samples=n)) for n in (3, 9)
    )
    assert few.to_text() == many.to_text()


def test_several_objectives_and_a_space_of_a_run_file() -> None:
    text = RUN + 'keep = "-1%"\nobjective = ["bytes", "latency", "throughput"]\n'
    text += "[masks]\nepochs = 6\n[low_rank]\ndivisor = 2\n[prune]\nexclude = ['head']\n"
    text += "[search.space]\nlr = [1e-3, 1e-2]\nmask_share = [0.2, 0.5]\ndivisor = [4, 8]\n"
    text += 'blocks = [["prune"], ["prune", "low_rank"]]\n'
    settings = RunFile.parse(text, Path("run.toml")).settings
    assert settings.budgets == ["bytes=lowest", "lowest"]
    assert settings.search.searcher(3) == "gp"
    assert parameters(settings) == {
        "progress_latency": (1e-3, 1.0),
        "lr": (1e-3, 1e-2),
        "mask_share": [0.2, 0.5],
        "divisor": [4, 8],
        "blocks": ["prune", "prune+low_rank"],
    }
    there = settings.at({"lr": 5e-3, "mask_share": 0.5, "divisor": 8, "blocks": "prune+low_rank"})
    assert there.blocks == (Prune(divisor=8, exclude=("head",)), LowRank(divisor=8))
    assert (there.masks.epochs, there.fine_tune.epochs, there.fine_tune.lr) == (4, 4, 5e-3)
    assert settings.at({"mask_share": 0.01}).masks.epochs == 1
    assert settings.at({"blocks": "prune"}).blocks == (Prune(exclude=("head",)),)
    assert settings.at({}) == settings
    assert "space" in settings.to_text()
    assert settings.to_text()["objective"] == "bytes, latency, throughput"
    assert SearchSettings().searcher(1) == "bracket"


class Fixed(nn.Module):
    """What it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_error_of_a_share_is_that_of_a_share() -> None:
    labels = torch.arange(200) % 4
    answers = torch.where(torch.arange(200) < 150, labels, (labels + 1) % 4)
    found = judge(Fixed(), (nn.functional.one_hot(answers, 4).float(), labels))
    assert found.value == 0.75
    assert found.standard_error == pytest.approx((0.75 * 0.25 / 200) ** 0.5)


def test_the_error_of_other_figures_is_what_it_is_over_many_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    draws, errors = [], []
    for _ in range(40):
        outputs = torch.randn(1000, 1, generator=generator)
        found = judge(Fixed(), (outputs, torch.zeros(1000, 1)), Regression())
        draws.append(found.value)
        errors.append(found.standard_error)
    spread = float(torch.tensor(draws).std())
    assert sum(errors) / 40 == pytest.approx(spread, rel=0.3)


def test_metrics_of_torchmetrics_have_an_error_too() -> None:
    metrics = pytest.importorskip("torchmetrics", reason="pip install 'latprof[train]'")
    outputs = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    task = with_functions(Regression(), metric=metrics.MeanSquaredError())
    found = judge(Fixed(), (outputs, torch.zeros(1000, 1)), task)
    assert found.value == pytest.approx(float(outputs.square().mean()))
    assert found.standard_error == pytest.approx((2 / 1000) ** 0.5, rel=0.5)


def test_one_batch_has_no_error() -> None:
    with pytest.raises(UsageError, match="single batch"):
        judge(Fixed(), (torch.zeros(10, 1), torch.zeros(10, 1)), Regression())


def tensors(rows: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(rows, dtype=torch.float32).view(-1, 1), torch.arange(rows)


def rows_of(data: Any) -> list[int]:
    batches = (
        [data]
        if isinstance(data, tuple)
        else DataLoader(data)
        if hasattr(data, "__getitem__")
        else data
    )
    return [int(label) for _, labels in batches for label in labels]


@pytest.mark.parametrize(
    "make",
    [
        tensors,
        lambda: TensorDataset(*tensors()),
        lambda: DataLoader(TensorDataset(*tensors()), batch_size=8),
        lambda: [tuple(t[i : i + 8] for t in tensors()) for i in range(0, 40, 8)].__iter__,
    ],
)
def test_halves_of_test_data_share_no_row(make: Any) -> None:
    data = make()
    if callable(data):  # batches alone, again at each call

        class Batches:
            def __iter__(self) -> Any:
                return make()()

        data = Batches()
    judged, reported = (rows_of(part) for part in halves(data, seed=0))
    assert sorted(judged + reported) == list(range(40))
    assert 16 <= len(judged) <= 24


@pytest.mark.parametrize(
    "batches",
    [
        TensorBatches(torch.arange(40.0).view(-1, 1, 1, 1), torch.arange(40), batch=4),
        DatasetBatches(TensorDataset(*tensors()), batch=4),
        DatasetBatches(DataLoader(TensorDataset(*tensors()), batch_size=4, shuffle=True)),
    ],
    ids=["tensors", "dataset", "loader"],
)
def test_rows_that_are_held_out_are_not_trained_with(batches: Any) -> None:
    left, held = hold_out(batches, 0.25, seed=0)
    trained = {int(label) for _, labels in left.epoch(0) for label in labels}
    assert len(rows_of(held)) == 10
    assert not trained & set(rows_of(held))
    assert len(trained) == 28  # a batch that is not full is not used


def test_batches_alone_cannot_be_held_out() -> None:
    class Own:
        def __len__(self) -> int:
            return 1

        def epoch(self, number: int) -> Any:
            return [tensors()]

    with pytest.raises(UsageError, match="third part of the data"):
        hold_out(Own(), 0.5, seed=0)


def test_without_optuna_a_budget_is_met_and_keep_says_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "import latprof\n"
        "from latprof.pipeline._compress import run_config\n"
        "from latprof.pipeline.run import Job, RunFile\n"
        f"keys = dict(model='zoo:resnet18', data='d', table='t', out={str(tmp_path / 'run')!r})\n"
        "try:\n"
        "    config = RunFile.of({**keys, 'keep': '-1%'}, __import__('pathlib').Path())\n"
        "    run_config(config, Job.load, print, print, {})\n"
        "except latprof.errors.MissingExtraError as exc:\n"
        "    print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "keep" in done.stdout
    assert "latprof[search]" in done.stdout
    assert not (tmp_path / "run").exists()
