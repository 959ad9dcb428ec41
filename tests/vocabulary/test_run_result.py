"""A run's result: written and read back, older files too, damaged ones refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latprof import RunResult, Target
from latprof.errors import LatprofError, UsageError
from latprof.report._figures import columns, figure_row
from latprof.vocabulary import (
    BudgetOutcome,
    LayerResult,
    NetworkResult,
    StaircaseResult,
    WidthResult,
    checksum,
    load_json,
    save_json,
)

TARGET = Target("Box, 2 cores", "onnxruntime", "1.31", 1)


def refusal(unchanged: Callable[[], bool]) -> str | None:
    """The error's one line; None where the same contents were read."""
    try:
        assert unchanged()
    except LatprofError as exc:
        line = str(exc)
    else:
        return None
    assert "\n" not in line
    return line


def network(name: str, latency_s: float = 1e-3) -> NetworkResult:
    return NetworkResult(name, 0.9, latency_s, latency_s * 1.02, 1000, 20_000, f"run/{name}.onnx")


def result(compressed_s: float = 6e-4) -> RunResult:
    return RunResult(
        TARGET,
        (network("original"), network("trail/1", 8e-4), network("compressed", compressed_s)),
        (BudgetOutcome("latency", "60%", 6e-4, compressed_s), BudgetOutcome("macs", "50%", 10, 9)),
        "2 rounds throttled",
        (WidthResult("stem", 16, 8),),
        (LayerResult("stem", "conv2d.k3 16x16", (3, 16), (3, 8), 1e-5, None),),
        (StaircaseResult("stem", 8, (8, 16), (4, 8, 16), (1e-4, 2e-4, 3e-4)),),
        {"masked and shrunk": 1e-7},
    )


def test_written_and_read_back(tmp_path: Path) -> None:
    path = result().save(tmp_path / "result.json")
    assert RunResult.load(path) == result()
    assert result().compressed.latency_s == 6e-4
    assert [n.name for n in result().trail] == ["trail/1"]
    assert result().met
    assert not result(7e-4).met
    assert result().latency_budget_s == 6e-4


def test_memory_and_energy_are_written_and_read_back(tmp_path: Path) -> None:
    used = [replace(n, memory_bytes=2e7, energy_j=None) for n in result().networks]
    whole = replace(result(), networks=tuple(used), missing={"energy": "no counter"})
    assert RunResult.load(whole.save(tmp_path / "result.json")) == whole
    rows = [figure_row(n, whole) for n in whole.networks]
    assert all(row[-2:] == ["20.0 MB", "not available"] for row in rows)
    assert columns(whole)[-2:] == ("memory", "energy")
    assert len(columns(result())) == len(figure_row(result().original, result())) == 7


def test_a_result_of_version_2_is_read(tmp_path: Path) -> None:
    old = result().to_dict()
    for name in ("format", "sha256", "missing"):
        del old[name]
    for each in old["networks"]:
        del each["memory_bytes"], each["energy_j"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"format": 2, "sha256": checksum(old), **old}))
    assert RunResult.load(path) == result()


def test_a_result_of_the_former_version_is_read(tmp_path: Path) -> None:
    old = result().to_dict()
    networks = {n.pop("name"): n for n in old.pop("networks")}
    del old["format"], old["agreement"], old["sha256"]
    trail = [{"name": "trail/1", **networks.pop("trail/1")}]
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**old, "budget_s": 6e-4, **networks, "trail": trail}))
    read = RunResult.load(path)
    assert read.networks == result().networks
    assert read.layers == result().layers


@given(st.data())
def test_a_mutated_result_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("r") / "result.json"
    body = bytearray(result().save(path).read_bytes())
    place = data.draw(st.integers(0, len(body) - 1))
    if data.draw(st.booleans()):
        del body[place:]
    else:
        body[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(body))
    refused = refusal(lambda: RunResult.load(path) == result())  # a space may change
    assert refused is None or str(path) in refused


def test_networks_without_an_original_are_refused() -> None:
    with pytest.raises(UsageError, match="expected original and compressed"):
        RunResult(TARGET, (network("compressed"),), ())


@given(st.data())
def test_a_mutated_json_file_is_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path, held = tmp_path_factory.mktemp("j") / "original.json", {"latency_s": 0.000123}
    body = bytearray(save_json(path, "time of the original", 1, held).read_bytes())
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(body))
    refused = refusal(lambda: load_json(path, "time of the original", 1) == held)
    assert refused is None or "delete it" in refused
