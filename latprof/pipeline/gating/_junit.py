"""A gate's result as JUnit XML, which CI systems show beside the tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from latprof.pipeline.gating._gate import GateResult

__all__ = ["junit_of"]


def junit_of(result: GateResult) -> str:
    """One test case for each limit: a regression is a failure, what is undecided an error."""
    count = {
        verdict: str(sum(check.verdict == verdict for check in result.checks))
        for verdict in ("regression", "undecided")
    }
    suite = ElementTree.Element(
        "testsuite",
        name="latprof gate",
        tests=str(len(result.checks)),
        failures=count["regression"],
        errors=count["undecided"],
    )
    for check in result.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=f"latprof.gate.{check.name}", name=Path(result.file).name
        )
        if check.verdict == "regression":
            ElementTree.SubElement(case, "failure", message=str(check))
        elif check.verdict == "undecided":
            ElementTree.SubElement(case, "error", message=str(check))
        ElementTree.SubElement(case, "system-out").text = f"{check}\n{result.target}"
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
