"""A process that trains is set up before torch loads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

REPORT = """
import os, sys
from latprof.pipeline import prepare_for_training
assert "torch" not in sys.modules
prepare_for_training("this test")
import torch
print("GOMP_SPINCOUNT" in os.environ, file=sys.stderr)
torch.ones(1 << 20).sum()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="OpenMP of GNU is Linux's")
@pytest.mark.parametrize(
    ("given", "spins", "left"),
    [({}, "1000", "False"), ({"GOMP_SPINCOUNT": "77"}, "77", "True")],
    ids=["ours", "the user's"],
)
def test_threads_that_wait_sleep_soon(given: dict[str, str], spins: str, left: str) -> None:
    env = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        env={**env, "OMP_DISPLAY_ENV": "verbose", **given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
    assert done.stderr.splitlines()[-1] == left
