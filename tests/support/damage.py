"""Damaged copies of a file's bytes, as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from latprof.errors import LatprofError

__all__ = ["PLAIN_CSV", "TELLING", "TINYNAS", "damaged", "read_or_refused"]

#: Bytes that mean something to one format or another.
TELLING = (
    b"\n", b"\r\n", b",", b";", b'"', b"{", b"}", b"[", b"null", b"-1", b"9" * 30, b"NaN", b"\xff",
    b"\xef\xbb\xbf", b"\x00", b"true",
)  # fmt: skip

#: Tables of other people.
PLAIN_CSV = b"""kind,h,w,c_in,c_out,m,k,n,weights,latency_us
conv2d,14,14,64,128,,,,,16.5
matmul,,,,,1,8,9,True,2
"""
TINYNAS = b"""{Regular,1,16,5,5,8,1,1,0} 0.0125
{Depthwise,1,16,5,5,16,3,1,0} 0.025
"""


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
