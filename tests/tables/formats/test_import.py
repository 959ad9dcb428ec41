"""Tables that others published come in, and what is not one says where."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tables import TARGET

from latprof.errors import TableError
from latprof.tables import import_plain_csv, import_tinynas_trt
from latprof.workloads import Conv2d, MatMul

_TINYNAS = """\
{Regular,128,3,480,480,192,7,2,1} 30.9881
{Regular,1,16,5,5,8,1,1,0} 0.0125
{Depthwise,1,16,5,5,16,3,1,0} 0.025
{Regular,1,8,5,5,8,1,1,0} -1
"""


def test_the_tinynas_text(tmp_path: Path) -> None:
    path = tmp_path / "trt.txt"
    path.write_text(_TINYNAS)
    alone = import_tinynas_trt(path, TARGET)
    assert {m.workload: m.samples_s for m in alone.measurements} == {
        Conv2d(5, 5, 16, 8): ((1.25e-5,),),
        Conv2d(5, 5, 16, 16, kernel=3, groups=16): ((2.5e-5,),),
    }
    assert alone.provenance == {"imported_from": "trt.txt", "not_measured": 1}
    fused = import_tinynas_trt(path, TARGET, fused=True)
    assert [m.workload for m in fused.measurements] == [
        Conv2d(480, 480, 3, 192, kernel=7, stride=2, batch=128)
    ]
    assert fused.target != alone.target  # so that they never merge
    path.write_text(_TINYNAS + "{Regular,1} 3\n")
    with pytest.raises(TableError, match="line 5"):
        import_tinynas_trt(path, TARGET)


def test_plain_csv(tmp_path: Path) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("kind,h,w,c_in,c_out,m,k,n,latency_us\nconv2d,14,14,64,128,,,,16.5\n"
                    "matmul,,,,,1,8,9,2\n")  # fmt: skip
    table = import_plain_csv(path, TARGET)
    assert [m.workload for m in table.measurements] == [Conv2d(14, 14, 64, 128), MatMul(1, 8, 9)]
    assert table.measurements[0].latency_s == pytest.approx(16.5e-6)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kind,h\nconv2d,1\n", "exactly one of"),
        ("kind,latency_s,latency_ms\n", "exactly one of"),
        ("kind,colour,latency_s\n", "expected kind"),
        ("kind,h,w,c_in,c_out,latency_s\nconv2d,1,1,0,1,1\n", "line 2"),
        ("kind,h,w,c_in,c_out,latency_s\nconv2d,1,1,1,1,-4\n", "line 2"),
        ("kind,h,w,c_in,c_out,latency_s\n", "no measured row"),
    ],
)
def test_bad_csv_names_the_place(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=why):
        import_plain_csv(path, TARGET)
