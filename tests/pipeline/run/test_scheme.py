"""Blocks of a run by a function: in RUN.toml, in Python, and kept in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.own_data import fake_table
from support.run import Net, surrogate, table

import latprof
from latprof import LowRank, Prune
from latprof.errors import UsageError
from latprof.pipeline.run import RunFile, Settings, keep_blocks, named_settings

NEEDED = 'model = "a:b"\ndata = "c:d"\ntable = "t.parquet"\nout = "run"\n'
INPUTS = (torch.zeros(1, 1, 12, 12),)
MINE = """
from latprof import LowRank, Prune

def scheme(layers, target):
    assert target.target.device == "fake"
    pays = [la.path for la in layers if target.pays("int8", la.workload)]
    return [Prune(exclude=tuple(pays)), LowRank(layers=lambda la: la.share > 0.3)]
"""


def resolved(settings: Settings) -> Settings:
    return named_settings(settings, Net().eval(), INPUTS, surrogate(), table())


def test_a_run_file_names_a_scheme(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    path = tmp_path / "RUN.toml"
    for text in ('scheme = "mine.py:scheme"', 'scheme = "mine:scheme"'):
        settings = resolved(RunFile.parse(NEEDED + text, path).settings)
        prune, low_rank = settings.blocks
        assert prune == Prune(exclude=("0", "3", "6", "11"))
        assert low_rank == LowRank(layers=("6",))
        assert settings.scheme is None
        assert settings.to_text()["blocks"] == repr(settings.blocks)
        assert "scheme" not in settings.to_text()


def test_python_gives_blocks_a_scheme_or_predicates() -> None:
    keys = {"model": "m", "data": "d", "table": "t", "out": "o"}

    def scheme(layers: Any, target: Any) -> Any:
        return [Prune(divisor=8)]

    for blocks in (scheme, [Prune(divisor=8, exclude=lambda la: la.kernel > 3)]):
        config = RunFile.of({**keys, "blocks": blocks}, Path())
        assert resolved(config.settings).blocks == (Prune(divisor=8),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('scheme = "mine:scheme"\n[prune]', r"scheme and \[prune\] are both given"),
        ('scheme = "nothing:scheme"', "scheme nothing:scheme: importing nothing fails"),
        ("scheme = 3", "scheme is 3; expected a string"),
    ],
)
def test_what_is_no_scheme_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        RunFile.parse(NEEDED + text, Path("RUN.toml"))


def test_the_folder_keeps_the_blocks_and_says_what_changed(tmp_path: Path) -> None:
    settings = resolved(Settings(scheme=lambda layers, target: [Prune(exclude=("0",)), LowRank()]))
    keep_blocks(tmp_path, settings.blocks, write=False)
    keep_blocks(tmp_path, settings.blocks, write=True)
    keep_blocks(tmp_path, settings.blocks, write=False)
    other = (Prune(divisor=8, exclude=("0", "3", "6")),)
    with pytest.raises(UsageError) as caught:
        keep_blocks(tmp_path, other, write=False)
    text = str(caught.value)
    assert "LowRank is gone; Prune divisor was 4, now 8; Prune exclude now with 3, 6" in text
    assert "\n" not in text


def test_a_run_with_a_scheme_goes_on_and_refuses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'latprof[onnx]'")
    monkeypatch.chdir(tmp_path)
    fake_table(tmp_path / "t.parquet", Net().eval(), INPUTS)
    model, rows = Net().eval(), [(torch.randn(1, 12, 12), n % 4) for n in range(64)]
    whole = ("11",)

    def scheme(layers: Any, target: Any) -> Any:
        return [Prune(exclude=whole)]

    def run() -> Any:
        phases = {name: {"epochs": 1} for name in ("masks", "fine_tune")}
        keys = {"table": "t.parquet", "device": "fake", "budget": "70%", "out": "run", **phases}
        return latprof.compress(model, INPUTS, rows, rows, blocks=scheme, **keys)

    first = run()
    assert {width.group for width in first.widths} == {"0", "3"}
    assert run().widths == first.widths
    whole = ("6",)
    with pytest.raises(UsageError, match=r"other blocks .Prune exclude now without 11 and with 6"):
        run()
