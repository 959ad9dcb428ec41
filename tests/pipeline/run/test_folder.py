"""What a run leaves in its folder: log, trail, scalars, layers; and the page that shows it."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from support.run import SETTINGS, Arithmetic, Net, data, fake_run

from latprof.compress import accuracy
from latprof.devices import BackgroundLoad
from latprof.pipeline.run import Compression, Deployment, conclude, load_small
from latprof.report import conditions, progress_text, write_report
from latprof.vocabulary import RunResult, format_s

pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")

#: Channels of Net that cannot shrink.
OUTPUTS = 4


class Stopped(Exception):
    pass


class Run(NamedTuple):
    """A finished run, and its progress lines."""

    folder: Path
    done: Compression
    result: RunResult
    lines: list[str]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder, lines = tmp_path_factory.mktemp("runs") / "first <run>", list[str]()
    done, result = fake_run(folder, on_progress=lambda row: lines.append(progress_text(row)))
    return Run(folder, done, result, lines)


def test_the_trail_leads_from_the_original_to_the_budget(run: Run) -> None:
    result = run.result
    original, small, trail = result.original, result.compressed, result.trail
    assert [t.name for t in trail] == ["trail/1", "trail/2", "trail/3"]
    every = [original, *trail, small]
    for larger, smaller in itertools.pairwise(every):
        for figure in ("latency_s", "predicted_s", "params", "macs"):
            assert getattr(smaller, figure) < getattr(larger, figure), figure
    assert result.latency_budget_s is not None
    step_s = (original.latency_s - result.latency_budget_s) / 4
    for k, network in enumerate(trail, 1):
        level_s = original.latency_s - k * step_s
        assert network.latency_s == pytest.approx(level_s, rel=0.12)
        # predictions of files are not calibrated by whole models here: within their interval
        assert 1 / 1.65 < network.latency_s / network.predicted_s < 1.65


def test_a_disturbed_timing_is_told(run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    networks = {
        "original": (Net().eval(), run.done.comp.graph.sizes),
        "compressed": (run.done.small, run.done.comp.counts()),
    }
    with Arithmetic(seed=3, stair=8, loads=[BackgroundLoad(0.0, 1e9, core_share=0.4)]) as device:
        deployment = Deployment(device, folder, (torch.zeros(1, 1, 12, 12),))
        result = conclude(deployment, networks, run.done, data()[1])
    assert conditions(run.result) == ""
    assert "preempted" in result.detail
    assert result.detail in conditions(result)
    assert html.escape(conditions(result)) in write_report(folder).read_text()


def test_a_network_of_the_trail_loads_as_it_was_measured(run: Run) -> None:
    folder, _, result, _ = run
    _, (images, labels) = data()
    for network in [*result.trail, result.compressed]:
        small, _ = load_small(Net(), folder / network.name)
        assert accuracy(small, images, labels) == pytest.approx(network.accuracy)
        assert sum(p.numel() for p in small.parameters()) == network.params
        assert Path(network.file).is_file()
        assert network.accuracy > 0.6  # recalibrated: 0.25 is chance


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_trail(run: Run, tmp_path: Path) -> None:
    folder, _, result, _ = run
    """Also where the device is slower by then: the original's latency was the run's beginning."""
    for stop, slower in ((25, 1.0), (57, 1.1)):

        def on_progress(row: Any, stop: int = stop) -> None:
            if row["step"] >= stop:
                raise Stopped

        with pytest.raises(Stopped):
            fake_run(tmp_path / "again", on_progress=on_progress, save_every_s=0.0, slower=slower)
    _, again = fake_run(tmp_path / "again", save_every_s=0.0, slower=1.2)
    for name in ("trail/1", "trail/2", "trail/3", "compressed"):
        first = load_file(folder / f"{name}.safetensors")
        second = load_file(tmp_path / "again" / f"{name}.safetensors")
        assert list(first) == list(second)
        for key, value in first.items():
            assert torch.equal(value, second[key]), (name, key)
    assert again.widths == result.widths


def test_the_folder_holds_curves_widths_and_layers(run: Run) -> None:
    folder, _, result, lines = run
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["phase"] == "masks"] == list(range(10, 61, 10))
    assert [r["step"] for r in rows if r["phase"] == "fine_tune"] == [10]
    assert rows[-1]["accuracy"] > rows[0]["accuracy"]
    assert rows[-1]["channels"] == sum(w.after for w in result.widths) + OUTPUTS
    fingerprint = json.loads((folder / "fingerprint.json").read_text())["data"]
    assert fingerprint["trail"] == str(SETTINGS.trail)
    assert re.fullmatch(
        r"fine-tune: loss \d\.\d+, accuracy [\d.]+%, predicted [\d.]+ us, "
        r"budget [\d.]+ us, \d+ channels",
        lines[-1],
    )
    for layer in result.layers:
        assert layer.predicted_s == pytest.approx(layer.latency_s, rel=0.25)
    assert any(layer.before != layer.after for layer in result.layers)


def test_staircases_pass_through_the_network_itself(run: Run) -> None:
    result = run.result
    assert {s.group for s in result.staircases} == {w.group for w in result.widths}
    for stairs in result.staircases:
        here = stairs.latency_s[stairs.counts.index(stairs.after)]
        comp = run.done.comp
        assert here == pytest.approx(comp.cost_model.exact(comp.counts()), rel=1e-6)
        assert stairs.latency_s[-1] > stairs.latency_s[0]
        names = [g.name for g in run.done.comp.graph.groups]
        for count, latency_s in list(zip(stairs.counts, stairs.latency_s, strict=True))[::7]:
            counts = run.done.comp.counts()
            counts[names.index(stairs.group)] = count
            assert latency_s == pytest.approx(run.done.comp.cost_model.exact(counts), rel=1e-6)


def test_tensorboard_gets_both_phases(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX", reason="pip install 'latprof[tensorboard]'")
    from support.tensorboard import scalars_in

    from latprof.integrations import TensorBoard

    trackers = TensorBoard(tmp_path / "board")
    _, result = fake_run(tmp_path / "run", trackers=trackers, trail=0, masks=SETTINGS.fine_tune)
    found = scalars_in(tmp_path / "board")
    assert result.trail == ()
    assert list(found["loss"]) == [10, 20]
    assert found["latprof/channels"][20] == sum(w.after for w in result.widths) + OUTPUTS
    assert 0 < found["accuracy"][20] <= 1


def shown(page: Path, *how: str) -> str:
    """What headless Chromium makes of the page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("chromium is not installed")
    with_own_profile = f"--user-data-dir={page.parent / 'chromium'}"
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", with_own_profile]
    ran = subprocess.run(
        [*command, *how, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_page_in_a_browser(run: Run) -> None:
    folder, _, result, _ = run
    page = write_report(folder)
    text = html.unescape(shown(page, "--dump-dom"))
    assert "latprof: first <run>" in text
    verdict = "met" if result.met else "missed"
    assert f">{verdict}</strong>" in text
    networks = result.networks
    for network in networks:
        assert f"<td>{network.accuracy:.2%}</td><td>{format_s(network.latency_s)}" in text
    for width in result.widths:  # on the staircases and among the widths
        assert f"{width.group}: {width.after} of {width.before}" in text
        assert f" {width.after} of {width.before}</text>" in text
    for says in ("test accuracy (%)", "lambda", "training loss", "MAPE", "trail", "budget"):
        assert says in text, says
    assert text.count("<svg") == 6
    for layer in result.layers:
        assert f"<td>{layer.op}</td>" in text


def test_the_page_loads_nothing_and_paints_its_pictures(run: Run, tmp_path: Path) -> None:
    folder = run.folder
    page = shutil.copy(write_report(folder), tmp_path)
    body = Path(page).read_text()
    assert not re.search(r"(src|href)=[\"'](?!#)", body)
    assert not re.search(r"url\((?!#)", body)
    picture = tmp_path / "page.png"
    shown(Path(page), f"--screenshot={picture}", "--window-size=1000,4000", "--hide-scrollbars")
    from matplotlib.image import imread

    pixels = imread(picture)[..., :3]
    assert pixels.shape[:2] == (4000, 1000)
    painted = (pixels.min(axis=2) < 0.9).any(axis=1)  # rows of the picture with ink on them
    assert painted.mean() > 0.4
