"""What is installed is what is in the checkout."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from support.imports import imported, is_private

ROOT = Path(__file__).parent.parent
ROOMS = ("compress", "cuda_src", "devices", "surrogate", "tables")
EXPORTLESS = {
    "latprof._cli",
    "latprof._demo",
    "latprof.cuda_src",
}
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def packages_on_disk() -> set[str]:
    """Every folder with an ``__init__.py`` under latprof/, links followed."""
    roots = [ROOT / "latprof", *(ROOT / "latprof" / room for room in ROOMS)]
    found = {path.parent for root in roots for path in root.rglob("__init__.py")}
    return {".".join(path.relative_to(ROOT).parts) for path in found}


def test_every_package_on_disk_is_listed() -> None:
    assert set(SETUPTOOLS["packages"]) == packages_on_disk()
    assert set(SETUPTOOLS["package-dir"]) == packages_on_disk()


@pytest.mark.parametrize("room", ROOMS)
def test_links_agree_with_the_mapping(room: str) -> None:
    link = ROOT / "latprof" / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{room}"
    assert SETUPTOOLS["package-dir"][f"latprof.{room}"] == room


def private_imports(path: Path, room: str) -> list[str]:
    """Names with a leading underscore that a file imports from another room of latprof."""
    found = []
    for module, name in imported(ast.parse(path.read_text())):
        _, of, *inside = [*module.split("."), name]
        if of != room and any(map(is_private, inside)):
            found.append(f"{module}.{name}")
    return found


def test_no_room_imports_a_private_name_of_another() -> None:
    found = {}
    for package in packages_on_disk():
        folder = ROOT.joinpath(*package.split("."))
        room = package.split(".")[1] if "." in package else ""
        for path in folder.glob("*.py"):
            if names := private_imports(path, room or path.stem):
                found[str(path.relative_to(ROOT))] = names
    assert not found


def test_no_package_among_the_tests() -> None:
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_wheel_holds_every_module_and_imports_outside_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for room in (ROOT / "latprof", *(ROOT / room for room in ROOMS)):
        for path in room.rglob("*.py"):
            inside = path.relative_to(ROOT)
            wanted = inside if inside.parts[0] == "latprof" else Path("latprof") / inside
            assert str(wanted) in names
    kernels = {f"latprof/cuda_src/{path.name}" for path in (ROOT / "cuda_src").glob("*.cu*")}
    assert {"latprof/py.typed", *kernels} <= names
    code = "import latprof.devices, latprof.tables; print(latprof.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.startswith(str(tmp_path / "site"))


def test_import_brings_nothing_heavy() -> None:
    code = (
        "import sys, latprof, latprof._cli; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"torch", "onnxruntime", "onnx", "pandas", "scipy", "matplotlib", "ai_edge_litert"}
    assert not heavy & set(shown.stdout.split())


@pytest.mark.parametrize("name", sorted(packages_on_disk() - EXPORTLESS))
def test_exports_are_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    exported = list(module.__all__)
    constants_classes_functions = sorted(
        set(exported), key=lambda n: (not n.isupper(), n[0].islower(), n)
    )
    assert exported in (constants_classes_functions, sorted(set(exported)))
    assert set(exported) <= set(dir(module))
    for one in exported:
        assert getattr(module, one) is not None
