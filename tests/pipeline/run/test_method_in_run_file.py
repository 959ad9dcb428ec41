"""The method of a RUN.toml: by name, or a section of its arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from latprof.compress import LC, Gradual, Masks, paper
from latprof.errors import UsageError
from latprof.pipeline.run import RunFile

NEEDED = 'model = "a:b"\ndata = "c:d"\ntable = "t.parquet"\nout = "run"\n'


def parse(text: str) -> RunFile:
    return RunFile.parse(NEEDED + text, Path("RUN.toml"))


def test_a_name_a_section_or_nothing() -> None:
    assert parse("").settings.method == Masks()
    assert parse('method = "paper"').settings.method == paper()
    assert parse('[method]\nname = "gradual"\nscore = "taylor"').settings.method == Gradual(
        "taylor"
    )
    assert parse("[method]\nearly_stop = true").settings.method == Masks(early_stop=True)
    assert parse('[method]\nname = "lc"\nmu = 1').settings.method == LC(mu=1.0)


def test_the_fingerprint_names_every_argument() -> None:
    settings = parse('[method]\nname = "gradual"\nend = 0.5').settings
    assert settings.to_text()["method"] == "Gradual(score='magnitude', begin=0.1, end=0.5)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('method = "none"', "method is 'none'; expected one of gradual, lc, masks"),
        ("method = 3", r"method is 3; expected a name, or a \[method\] section"),
        ("[method]\nscore = 'taylor'", "unknown key method.score; expected one of anneal, clip"),
        ('[method]\nname = "lc"\nvalidate = "x"', "unknown key method.validate"),
        ('[method]\nname = "gradual"\nend = 0.05', r"\[method\] end is 0.05; expected a number"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
