"""A run folder belongs to one run, and one process at a time works in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from latprof.errors import UsageError
from latprof.pipeline.run._folder import claim, locked, model_digest, require_same_run

ASKED = {"budget": "'60%'", "weights": "abc", "table": "def", "data": "mine:data"}


@pytest.mark.parametrize("name", ASKED)
def test_a_folder_of_another_run_is_refused_by_what_differs(tmp_path: Path, name: str) -> None:
    require_same_run(tmp_path, ASKED)
    claim(tmp_path, ASKED)
    claim(tmp_path, ASKED)
    before = (tmp_path / "fingerprint.json").read_bytes()
    with pytest.raises(UsageError, match=rf"another run \({name} was .*, now other\)"):
        claim(tmp_path, {**ASKED, name: "other"})
    assert (tmp_path / "fingerprint.json").read_bytes() == before


def test_a_folder_of_an_older_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(UsageError, match="older latprof"):
        claim(tmp_path, ASKED)


def test_a_damaged_fingerprint_says_what_can_be_deleted(tmp_path: Path) -> None:
    claim(tmp_path, ASKED)
    path = tmp_path / "fingerprint.json"
    path.write_text(path.read_text().replace("abc", "abd"))
    with pytest.raises(UsageError, match="checksum does not fit; delete it"):
        claim(tmp_path, ASKED)


def test_a_second_process_is_refused_at_once_and_a_killed_one_leaves_no_lock(
    tmp_path: Path,
) -> None:
    code = (
        "import sys, pathlib\n"
        "from latprof.pipeline.run._folder import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('in', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], text=True, **pipes)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(UsageError, match="in use by another latprof process"), locked(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate()
    with locked(tmp_path):
        pass


def test_the_digest_follows_every_tensor() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = model_digest(model)
    assert before == model_digest(model)
    with torch.no_grad():
        model[1].running_var[2] += 1e-7
    assert model_digest(model) != before
    assert model_digest(model.bfloat16()) != before
