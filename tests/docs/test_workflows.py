"""The workflow files of the guide are YAML, and their commands run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from latprof.devices.agent.runtimes import write_onnx
from latprof.workloads import Conv2d

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "continuous-integration.md"


def workflow(name: str) -> dict[str, Any]:
    (text,) = re.findall(
        rf"<!-- workflow: {name} -->\n```yaml\n(.*?)^```", PAGE.read_text(), re.M | re.S
    )
    return dict(yaml.safe_load(text))


def commands(name: str) -> list[str]:
    """The shell commands of a workflow's job, in order."""
    file = workflow(name)
    if name == "github":
        return [step["run"] for step in file["jobs"]["latency"]["steps"] if "run" in step]
    return list(file["latency"]["script"])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A clone whose branch changed model.onnx; ``origin/main`` has the old one."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("needs git")
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    origin.mkdir()
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]

    def call(*args: str, cwd: Path) -> None:
        subprocess.run([git, *who, *args], cwd=cwd, check=True, capture_output=True)

    call("init", "-q", "-b", "main", cwd=origin)
    (origin / "model.onnx").write_bytes(write_onnx(Conv2d(14, 14, 64, 64)))
    call("add", ".", cwd=origin)
    call("commit", "-q", "-m", "a model", cwd=origin)
    call("clone", "-q", str(origin), str(clone), cwd=tmp_path)
    (clone / "model.onnx").write_bytes(write_onnx(Conv2d(14, 14, 64, 32)))
    return clone


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_the_commands_of_a_workflow_run(name: str, repository: Path) -> None:
    """On the fake device, which every machine has; latprof is installed already."""
    folder = repository.parent / "bin"
    folder.mkdir()
    (folder / "latprof").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m latprof "$@"\n')
    (folder / "latprof").chmod(0o755)
    summary = repository / "gate.md"
    environment = {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_BASE_REF": "main",
        "GITHUB_STEP_SUMMARY": str(summary),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }
    found = [line for line in commands(name) if not line.startswith("pip install")]
    assert len(found) == len(commands(name)) - 1
    for line in found:
        on_fake = line.replace("gate model.onnx", "gate model.onnx --device fake")
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", on_fake],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert summary.read_text().startswith("### model.onnx: fast enough")
    assert (repository / "gate.xml").read_text().startswith("<?xml")
    assert (repository / "old.onnx").stat().st_size > (repository / "model.onnx").stat().st_size


def test_a_workflow_stores_what_its_commands_write() -> None:
    steps = workflow("github")["jobs"]["latency"]["steps"]
    assert steps[-1]["with"]["path"] == "gate.xml"
    job = workflow("gitlab")["latency"]
    assert job["allow_failure"]["exit_codes"] == 4
    assert job["artifacts"]["reports"]["junit"] == "gate.xml"
