"""Options and fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import pytest
from helpers_devices import forget_children
from hypothesis import settings

# The machines are noisy: an example that takes long is no defect, and a failure must come again.
settings.register_profile("latprof", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("latprof")

#: Files whose tests measure this machine, keep time limits or share its one adb server.
ALONE = (
    *("test_adb", "test_cli", "test_compress_int8", "test_compress_trace_cost"),
    *("test_devices_agent", "test_devices_laws", "test_devices_many", "test_devices_runtimes"),
    *("test_devices_ssh", "test_examples", "test_export_cli", "test_gpu_device", "test_gpu_real"),
)


@pytest.fixture(autouse=True)
def _only_its_own_processes() -> None:
    forget_children()


def pytest_configure() -> None:
    os.environ.setdefault("LATPROF_PAUSE_S", "0")  # figures are judged in benchmarks/, not here


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.name.startswith(ALONE):
            item.add_marker("alone")
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="takes more than 20 seconds; run with --slow"))
        if "gpu" in item.keywords and shutil.which("nvidia-smi") is None:
            item.add_marker(pytest.mark.skip(reason="no NVIDIA GPU: nvidia-smi is not on the PATH"))
