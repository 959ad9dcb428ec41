"""What is logged stands in the trackers' own files, and comes back out of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support.tensorboard import scalars_in
from support.training import plain_compressor

from latprof.errors import UsageError
from latprof.integrations import TensorBoard, Trackers, TrackerWarning


@pytest.mark.parametrize("in_folder", [True, False])
def test_scalars_are_read_back_from_tensorboard(tmp_path: Path, in_folder: bool) -> None:
    comp = plain_compressor()
    made = Trackers(["tensorboard"], tmp_path) if in_folder else TensorBoard(tmp_path / "events")
    with made as trackers:
        for step in (1, 2, 3):
            trackers.log(step, comp, loss=1.0 / step)
    found = scalars_in(tmp_path / ("tensorboard" if in_folder else "events"))
    assert set(found) == {
        "loss",
        "latprof/latency_s",
        "latprof/budget_s",
        "latprof/penalty_weight",
        "latprof/channels",
    }
    assert found["loss"] == pytest.approx({1: 1.0, 2: 0.5, 3: 1 / 3})
    assert found["latprof/channels"][3] == sum(comp.counts())
    assert found["latprof/latency_s"][2] == pytest.approx(comp.cost(), rel=1e-6)
    assert math.isclose(found["latprof/budget_s"][1], comp.budget_cost, rel_tol=1e-6)


def log_twice(folder: Path, tracker: str) -> None:
    """A run that stops, and goes on."""
    for start in (0, 2):
        with Trackers([tracker], folder, {"budget": "60%"}) as trackers:
            for step in (start, start + 1):
                trackers.log(step, loss=float(step))


def test_a_run_that_goes_on_is_one_run_of_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    log_twice(tmp_path / "first", "mlflow")
    (run,) = mlflow.search_runs(experiment_names=["latprof"], output_format="list")
    assert run.info.run_name == "first"
    assert run.data.params == {"budget": "60%"}
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]


def test_a_run_that_goes_on_is_one_run_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log_twice(tmp_path / "first", "wandb")
    number = json.loads((tmp_path / "first/trackers.json").read_text())["data"]["wandb"]
    files = list((tmp_path / "first/wandb").glob(f"offline-run-*-{number}/run-{number}.wandb"))
    assert files
    assert all(file.stat().st_size for file in files)


def test_unknown_trackers_and_those_that_do_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="tracker is 'tensorbord'; expected one of tensorboard"):
        Trackers(["tensorbord"], tmp_path)
    with pytest.raises(UsageError, match="tracker failing does not start: OSError: no network"):
        Trackers([failing(at_start=True)], tmp_path)


def test_a_tracker_that_fails_later_costs_the_others_nothing(tmp_path: Path) -> None:
    with Trackers([failing(), "tensorboard"], tmp_path) as trackers:
        with pytest.warns(TrackerWarning, match="the tracker failing failed .* OSError: no net"):
            trackers.log(1, loss=1.0)
        trackers.log(2, loss=2.0)
    assert scalars_in(tmp_path / "tensorboard")["loss"] == {1: 1.0, 2: 2.0}


def failing(*, at_start: bool = False) -> Any:
    """A tracker of one's own, by accelerate's rules, whose network is gone."""
    from accelerate.tracking import GeneralTracker

    class Failing(GeneralTracker):  # type: ignore[misc]
        name = "failing"
        requires_logging_directory = False
        tracker = None

        def start(self) -> None:
            if at_start:
                raise OSError("no network")

        def log(self, values: Any, step: int | None = None, **_: Any) -> None:
            raise OSError("no network")

    return Failing()
