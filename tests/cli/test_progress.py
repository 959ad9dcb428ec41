"""Progress in a log, where there is no terminal to draw a bar in."""

from __future__ import annotations

import pytest

from latprof._cli.shared import progress


def test_progress_never_goes_back(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("measuring", 100) as update:
        for done in (1, 50, 45, 51, 61, 59, 62, 90, 89, 90, 100):
            update(done, left_s=1)
    lines = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == [f"measuring: {share}%" for share in (1, 50, 61, 90, 100)]
