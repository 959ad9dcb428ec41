"""Users' callables by name: from packages and files, and ``sys.path`` as it was afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latprof.errors import ModelLoadError
from latprof.vocabulary import load_callable, load_object

USER = """
from helper_of_user import base

class Net:
    @staticmethod
    def build():
        return base() + 1

def late(extra):
    import late_of_user
    return late_of_user.value + extra

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "user_of_tests.py").write_text(USER)
    (tmp_path / "helper_of_user.py").write_text("def base():\n    return 1\n")
    (tmp_path / "late_of_user.py").write_text("value = 10\n")
    (tmp_path / "broken_of_tests.py").write_text("import nowhere_to_be_found\n")
    return tmp_path


@pytest.mark.parametrize("module", ["user_of_tests", "user_of_tests.py", "./user_of_tests.py"])
def test_packages_and_files_relative_to_a_folder(module: str, folder: Path) -> None:
    before = list(sys.path)
    assert load_callable(f"{module}:Net.build", folder)() == 2
    assert load_callable(f"{module}:late", folder)(5) == 15  # imports when it is called
    assert load_object(f"{module}:number", folder) == 3
    assert sys.path == before


def test_the_working_directory_is_the_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert load_callable("user_of_tests.py:late")(1) == 11
    assert load_callable(f"{folder}/user_of_tests.py:late")(1) == 11


def test_a_file_runs_once_until_it_changes(folder: Path) -> None:
    file = folder / "counted.py"
    file.write_text("class A: pass\n")
    assert load_object("counted.py:A", folder) is load_object("counted.py:A", folder)
    file.write_text("class A:\n    changed = True\n")
    assert load_object("counted.py:A", folder).changed


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("nothing", r"got 'nothing'; expected package\.module:callable or file\.py:callable"),
        ("user_of_tests:", "expected package.module:callable"),
        ("absent.py:x", r"absent\.py:x: no such file"),
        ("absent_of_tests:x", "importing absent_of_tests fails: ModuleNotFoundError"),
        ("broken_of_tests.py:x", "No module named 'nowhere_to_be_found'"),
        ("user_of_tests.py:absent", "has no attribute 'absent'; expected a callable there"),
        ("user_of_tests.py:number", "is a int; expected a callable"),
    ],
)
def test_what_cannot_be_loaded(spec: str, says: str, folder: Path) -> None:
    before = list(sys.path)
    with pytest.raises(ModelLoadError, match=says) as told:
        load_callable(spec, folder)
    assert "\n" not in str(told.value)
    assert sys.path == before


def test_no_torch_is_needed(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from latprof.vocabulary import load_callable\n"
        "print(load_callable('user_of_tests.py:Net.build')())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    assert shown.stdout == "2\n"
