"""A RUN.toml that ``init`` writes is one that ``compress`` takes; nonsense in one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import latprof
from latprof.errors import UsageError
from latprof.pipeline.run import RunFile

TEXT = 'model = "zoo:lstm"\ndata = "mine:data"\ntable = "t.parquet"\nout = "run"\n'


def test_what_init_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "first.toml"
    found = latprof.init('zoo:"x"', "mine:data", "t.parquet", budget="5 ms", out=path)
    run = RunFile.load(found.path)
    assert (run.model, run.data, run.table) == ('zoo:"x"', "mine:data", tmp_path / "t.parquet")
    assert run.out == tmp_path / "first"
    assert run.settings.budgets == ["5 ms"]
    with pytest.raises(UsageError, match="is there already"):
        latprof.init("zoo:lstm", "mine:data", "t.parquet", out=path)
    latprof.init("zoo:lstm", "mine:data", "t.parquet", out=path, force=True)
    assert RunFile.load(path).model == "zoo:lstm"


def test_init_refuses_a_budget_that_makes_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"60 s or 60%\?"):
        latprof.init("zoo:lstm", "mine:data", "t.parquet", budget="60", out=tmp_path / "r.toml")
    assert not (tmp_path / "r.toml").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[masks]\nepochs = 3.7", r"\[masks\] masks.epochs is 3.7; expected a whole number"),
        ("[masks]\nepochs = -1", r"\[masks\] epochs is -1"),
        ("[masks]\nepochs = true", r"masks.epochs is True"),
        ("[masks]\nlr = nan", "lr is nan"),
        ("[masks]\nwarmup = 2", "warmup is 2"),
        ("[distillation]\ntemperature = 0", "temperature is 0"),
        ("seed = 1.5", "seed is 1.5; expected a whole number"),
        ("trail = -1", "trail is -1"),
        ('int8 = "yes"', "int8 is 'yes'; expected true or false"),
        ('budget = "60"', r"60 s or 60%\?"),
        ("budget = [true]", "budget is"),
        ('save_every_s = "soon"', "save_every_s is 'soon'; expected a number"),
        ("[prune]\ndivisor = 0", "divisor"),
        ("masks = 3", r"masks is 3; expected a \[masks\] section"),
        ("[device_settings]\nthreads = 2", "device_settings.threads is 2; expected a string"),
    ],
)
def test_nonsense_in_a_run_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(TEXT + text)
    with pytest.raises(UsageError, match=says) as caught:
        RunFile.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_the_old_spelling_of_a_section_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(TEXT + "[quantise]\nbits = [4, 8]")
    (block,) = RunFile.load(path).settings.blocks
    assert block == latprof.Quantize(bits=(4, 8))
