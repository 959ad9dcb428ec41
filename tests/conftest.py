"""Options and fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from support.devices import forget_children

# The machines are noisy: an example that takes long is no defect, and a failure must come again.
settings.register_profile("latprof", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("latprof")

#: Tests that measure this machine; below tests/.
ALONE = (
    *("cli/test_cli", "cli/test_devices", "compress/export/test_int8", "end_to_end/"),
    *("compress/trace/test_trace_cost", "devices/agent/cuda/test_real"),
    *("devices/measure/test_many",),
)
TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    forget_children()
    cores = _cores()
    yield
    assert _cores() == cores, "the test has left the process on other cores"


def _cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def pytest_configure() -> None:
    os.environ.setdefault("LATPROF_PAUSE_S", "0")  # figures are judged in benchmarks/, not here


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(TESTS).as_posix().startswith(ALONE):
            item.add_marker("alone")
        # Not item.keywords: those hold the names of the checkout's folders too.
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes more than 20 seconds; run with --slow"))
        if item.get_closest_marker("gpu") and shutil.which("nvidia-smi") is None:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU: nvidia-smi is not on the PATH"))
