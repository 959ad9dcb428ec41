"""A folder and a file stay small enough to be read in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("compress", "devices", "latprof", "surrogate", "tables")
FOLDERS = sorted(p.parent for room in ROOMS for p in (ROOT / room).rglob("__init__.py"))
MAX_MODULES = 16
MAX_LINES = 400


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.relative_to(ROOT).as_posix())
def test_a_folder_is_small(folder: Path) -> None:
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    assert len(modules) <= MAX_MODULES, "make a sub-package of those that belong together"
    long = [p.name for p in folder.glob("*.py") if len(p.read_text().splitlines()) > MAX_LINES]
    assert not long, f"over {MAX_LINES} lines"
