"""What drives a GPU: the same laws and the same kernels by ctypes and by pycuda."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import gpu_laws
from support.gpu import DRIVERS, PYCUDA, SHAPES, Kernels, build_stand_in, label, random_inputs

from latprof.workloads import Workload


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return build_stand_in(tmp_path_factory.mktemp("stand_in"))


def judged(driver: str, environment: dict[str, str], *laws: str) -> dict[str, str]:
    """What a child says of the laws; its loader finds the driver in ``environment``."""
    done = subprocess.run(
        [sys.executable, gpu_laws.__file__, driver, *laws],
        env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # pycuda says there what it does not give back
    outcomes: dict[str, str] = json.loads(done.stdout)
    assert outcomes.pop("driven_by").startswith(driver)
    return outcomes


@pytest.fixture(scope="module", params=DRIVERS)
def laws(request: pytest.FixtureRequest, host: dict[str, str]) -> dict[str, str]:
    return judged(request.param, host)


@pytest.mark.parametrize("law", gpu_laws.LAWS)
def test_a_law_holds(laws: dict[str, str], law: str) -> None:
    assert not laws[law], laws[law]


@pytest.mark.gpu
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_laws_hold_on_a_real_gpu(driver: str) -> None:
    broken = {law: why for law, why in judged(driver, {}).items() if why}
    assert not broken, "\n".join(broken.values())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_lost_context_is_named(host: dict[str, str], driver: str) -> None:
    outcomes = judged(driver, {**host, "STANDIN_SYNC": "700"}, "a_lost_context_is_named")
    assert outcomes == {"a_lost_context_is_named": ""}


@pytest.fixture(scope="module")
def both(host: dict[str, str]) -> Iterator[tuple[Kernels, Kernels]]:
    if not PYCUDA:
        pytest.skip("needs pycuda, which scripts/pycuda builds with a CUDA toolkit")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**host, "STANDIN_CAPABILITY": "80"}.items():
            patch.setenv(name, value)
        opened = Kernels(driver="ctypes"), Kernels(driver="pycuda")
        yield opened
        for kernels in opened:
            kernels.close()


@pytest.mark.parametrize(
    "workload",
    [replace(w, dtype=("float32", "float16")[i % 2]) for i, w in enumerate(SHAPES)],  # type: ignore[call-arg]
    ids=label,
)
def test_kernels_through_pycuda_equal_those_through_ctypes(
    both: tuple[Kernels, Kernels], workload: Workload
) -> None:
    inputs = random_inputs(workload, "nchw", seed=6)
    by_ctypes, by_pycuda = (kernels.run(workload, inputs) for kernels in both)
    assert np.isfinite(by_ctypes).all()
    np.testing.assert_array_equal(by_ctypes, by_pycuda)


def test_a_pycuda_that_does_not_load_is_named_and_ctypes_drives(
    host: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("VERSION_TEXT = '0'\n")
    (tmp_path / "pycuda" / "driver.py").write_text("raise ImportError('undefined symbol: cuX')\n")
    code = (
        "from latprof.devices.agent.cuda._open import choose_driver, open_gpu\n"
        "print(open_gpu(0).driven_by, '|', choose_driver()[1])\n"
        "open_gpu(0, 'pycuda')\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **host, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    why = "pycuda does not load (undefined symbol: cuX); build it on this machine again"
    assert done.stdout.strip() == f"ctypes | {why}"
    assert f"NoDevice: driver is 'pycuda': {why}" in done.stderr
