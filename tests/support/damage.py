"""Damaged copies of a file's bytes, as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from latprof.errors import LatprofError

__all__ = ["damaged", "read_or_refused"]


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """Bytes changed, cut out, put in or left off the end; also nothing at all."""
    place = st.integers(0, max(0, len(data) - 1))
    changed = st.builds(
        lambda at, new: data[:at] + new + data[at + len(new) :],
        place,
        st.binary(min_size=1, max_size=8),
    )
    cut = st.builds(lambda at, n: data[:at] + data[at + n :], place, st.integers(1, 64))
    added = st.builds(
        lambda at, new: data[:at] + new + data[at:], place, st.binary(min_size=1, max_size=8)
    )
    ended = st.builds(lambda at: data[:at], place)
    return st.one_of(changed, cut, added, ended)


def read_or_refused(read: Callable[[], Any]) -> Any:
    """What ``read`` gives, or None where it refuses in one line; what else it raises goes on."""
    try:
        return read()
    except LatprofError as exc:
        said = str(exc)
    if not said or "\n" in said:
        raise AssertionError(f"expected one line; got {said!r}")
    return None
