"""A search in its folder: what it ends in, what it leaves, and that nothing is lost or repeated."""

from __future__ import annotations

import html
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("optuna", reason="pip install 'latprof[search]'")
pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")
from support.run import table
from support.search import SEARCH, fake_search, noisy, trained

from latprof.compress import judge
from latprof.pipeline.run import SearchSettings, SearchSpace, load_small
from latprof.report import write_report
from latprof.vocabulary import RunResult, SampleResult, SearchResult

SAMPLES, KILLS = 3, 10


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    folder = tmp_path_factory.mktemp("searches") / "first"
    return folder, fake_search(folder, search=SearchSettings(SAMPLES))


def searched(result: RunResult) -> SearchResult:
    """The search that a run was."""
    assert result.search is not None
    return result.search


def figures(samples: tuple[SampleResult, ...]) -> list[tuple[Any, ...]]:
    """What follows from the data alone, without the clock."""
    return [(s.number, s.progress, s.metric, s.one_shot, s.passes) for s in samples]


def test_the_chosen_network_is_the_fastest_that_keeps_the_floor(
    found: tuple[Path, RunResult],
) -> None:
    folder, result = found
    search = searched(result)
    assert search.floor == pytest.approx(search.original - 0.04)
    assert len(search.samples) == SAMPLES
    for sample in search.samples:
        assert sample.passes == (sample.metric - sample.standard_error >= search.floor)
        assert sample.objective == sample.latency_s
    passing = [s.objective for s in search.samples if s.passes]
    assert passing
    assert search.sample(search.chosen).objective <= 1.05 * min(passing)
    assert search.kept
    assert result.met
    assert result.budgets == ()
    assert RunResult.load(folder / "result.json") == result


def test_samples_are_networks_of_the_run_that_load_as_they_were_judged(
    found: tuple[Path, RunResult],
) -> None:
    folder, result = found
    search = searched(result)
    names = [f"samples/{s.number}" for s in search.samples]
    assert [n.name for n in result.networks] == ["original", *names, "compressed"]
    chosen = result.network(f"samples/{search.chosen}")
    assert result.compressed.params == chosen.params
    assert result.compressed.accuracy == chosen.accuracy
    for name in names:
        small, _ = load_small(trained(), folder / name)
        assert sum(p.numel() for p in small.parameters()) == result.network(name).params
        assert (folder / f"{name}.onnx").is_file()
    deeper = sorted(search.samples, key=lambda s: s.progress)
    sizes = [result.network(f"samples/{s.number}").macs for s in deeper]
    assert sizes == sorted(sizes, reverse=True)


def test_the_test_data_that_is_reported_has_judged_nothing(
    found: tuple[Path, RunResult],
) -> None:
    folder, result = found
    search = searched(result)
    small, _ = load_small(trained(), folder / "compressed")
    _, (images, labels) = noisy()
    whole = judge(small, (images, labels)).value
    on_halves = [search.sample(search.chosen).metric, result.compressed.accuracy]
    assert sum(on_halves) / 2 == pytest.approx(whole)


def test_the_study_opens_in_optuna(found: tuple[Path, RunResult]) -> None:
    import optuna

    folder, result = found
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    study = optuna.load_study(study_name="latprof", storage=optuna.storages.JournalStorage(backend))
    search = searched(result)
    assert [t.value for t in study.trials] == [s.objective for s in search.samples]
    feasible = [all(c <= 0 for c in t.constraints.values()) for t in study.trials]
    assert feasible == [s.passes for s in search.samples]


def test_the_page_shows_every_sample_the_floor_and_the_chosen_one(
    found: tuple[Path, RunResult],
) -> None:
    folder, result = found
    search = searched(result)
    page = html.unescape(write_report(folder).read_text())
    assert "Floor <strong class='met'>kept</strong>" in page
    assert "Accuracy against the objective" in page
    for text in (
        ">floor</text>",
        ">before fine-tuning</text>",
        ">chosen</text>",
        ">original</text>",
    ):
        assert text in page
    for sample in search.samples:
        mark = " *" if sample.number == search.chosen else ""
        assert f"<td>{sample.number}{mark}</td><td>{sample.progress:.1%}</td>" in page
        assert f"{sample.metric:.2%} +- {100 * sample.standard_error:.2f}" in page


def test_a_finished_search_is_read_and_goes_on_with_more_samples(
    found: tuple[Path, RunResult], tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(found[0], tmp_path / "again"))
    assert fake_search(folder, search=SearchSettings(SAMPLES)).search == found[1].search
    more = searched(fake_search(folder, search=SearchSettings(SAMPLES + 1)))
    assert more.samples[:-1] == searched(found[1]).samples


def test_where_nothing_keeps_the_floor_the_best_is_left_and_what_it_would_take(
    tmp_path: Path,
) -> None:
    result = fake_search(
        tmp_path / "run", keep="99%", objective="bytes", budget="bytes=lowest",
        search=SearchSettings(2),
    )  # fmt: skip
    search = searched(result)
    assert not search.kept
    assert not result.met
    best = max(search.samples, key=lambda s: s.metric - s.standard_error)
    assert search.chosen == best.number
    assert f"try keep = '{best.metric - best.standard_error:.2%}'" in search.note
    for sample in search.samples:
        file = tmp_path / "run" / "samples" / f"{sample.number}.onnx"
        assert sample.objective == file.stat().st_size


def test_an_objective_of_ones_own(tmp_path: Path) -> None:
    seen: list[Path] = []

    def first_width(small: Any, file: Path) -> float:
        seen.append(file)
        return float(small[0].out_channels)

    result = fake_search(
        tmp_path / "run", objective=first_width, search=SearchSettings(1, held_out=0.5)
    )
    search = searched(result)
    assert search.objective.endswith("first_width")
    assert search.original_objective == 32
    assert search.samples[0].objective == min(w.after for w in result.widths[:1])
    assert {file.name for file in seen} == {"original.onnx", "1.onnx"}


@pytest.mark.slow
def test_several_objectives_end_in_trade_offs_and_a_space_in_phases_of_its_own(
    tmp_path: Path,
) -> None:
    space = SearchSpace(lr=(1e-3, 4e-3), divisor=(4, 8))
    folder = tmp_path / "run"
    result = fake_search(
        folder,
        keep="5%",
        objective=("latency", "bytes"),
        budget="lowest, bytes=lowest",
        search=SearchSettings(3, space=space),
    )
    search = searched(result)
    assert [o.name for o in search.objectives] == ["latency", "bytes"]
    original = trained()
    for sample in search.samples:
        file = folder / "samples" / f"{sample.number}.onnx"
        assert sample.objectives == (sample.latency_s, file.stat().st_size)
        assert set(sample.settings) == {"progress_bytes", "lr", "divisor"}
        assert 1e-3 <= float(sample.settings["lr"]) <= 4e-3
        _, counts = load_small(original, folder / f"samples/{sample.number}")
        assert not any(count % int(sample.settings["divisor"]) for count in counts[:2])
    phases = {f"divisor={sample.settings['divisor']}" for sample in search.samples}
    assert {p.name for p in (folder / "phases").iterdir()} == phases
    assert search.front
    assert search.chosen in search.front
    assert (folder / "front.csv").is_file()
    page = html.unescape(write_report(folder).read_text())
    assert "Trade-offs" in page
    assert RunResult.load(folder / "result.json") == result


def start(folder: Path) -> subprocess.Popen[str]:
    """A process that searches, and prints phase, step and share of the whole, a line a step."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_samples(
    found: tuple[Path, RunResult], tmp_path: Path
) -> None:
    generator, folder = random.Random(3), tmp_path / "killed"
    shares = sorted(generator.uniform(0.0, 0.99) for _ in range(KILLS))
    for share in shares:
        with start(folder) as child:
            assert child.stdout is not None
            reached = 0.0
            while reached < share:
                line = child.stdout.readline()
                assert line, f"it ended before {share:.0%}"
                reached = float(line.split()[2])
            time.sleep(generator.uniform(0.0, 0.02))
            os.kill(child.pid, signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
    with start(folder) as child:
        child.communicate()
    assert child.returncode == 0
    search = searched(RunResult.load(folder / "result.json"))
    assert figures(search.samples) == figures(searched(found[1]).samples)
    for number in range(1, SAMPLES + 1):
        first, second = (
            load_file(home / f"samples/{number}.safetensors") for home in (found[0], folder)
        )
        for name, value in first.items():
            assert torch.equal(value, second[name]), (number, name)


@pytest.mark.slow
def test_two_processes_on_one_study_lose_and_repeat_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    table().save(folder / "table.parquet")
    pair = [start(folder), start(folder)]
    lines = [child.communicate()[0].splitlines() for child in pair]
    lines = [[line.rpartition(" ")[0] for line in each] for each in lines]
    assert [child.returncode for child in pair] == [0, 0]
    search = searched(RunResult.load(folder / "result.json"))
    assert [s.number for s in search.samples] == list(range(1, SAMPLES + 1))
    assert len({s.progress for s in search.samples}) == SAMPLES
    steps = [line for each in lines for line in each]
    once = [f"masks {step}" for step in range(1, 61)]
    each = [f"fine_tune {step}" for step in range(1, 11)]
    assert sorted(steps) == sorted(once + SAMPLES * each)


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[1]).mkdir(exist_ok=True)
    fake_search(
        Path(sys.argv[1]),
        on_progress=lambda row: print(row["phase"], row["step"], row["share"], flush=True),
        save_every_s=0.05,
        search=replace(SEARCH.search, samples=SAMPLES),
    )
