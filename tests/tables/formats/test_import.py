"""Tables that others published come in, and what is not one says where."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tables import TARGET

from latprof.errors import TableError, TargetMismatchError
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


def test_published_tables_keep_their_own_type_of_number(tmp_path: Path) -> None:
    """fp16 and int8 files are no float32 tables, and merge with none."""
    tables = {}
    for name, dtype in (("fp32", "float32"), ("fp16", "float16"), ("int8", "int8")):
        path = tmp_path / f"conv_{name}.txt"
        path.write_text(_TINYNAS)
        tables[name] = import_tinynas_trt(path, TARGET)
        assert {m.workload.dtype for m in tables[name].measurements} == {dtype}
        assert tables[name].target.precision == dtype
        assert import_tinynas_trt(path, TARGET, dtype="int8") == tables[name] or name != "int8"
    with pytest.raises(TargetMismatchError, match="precision 'float16'"):
        tables["fp32"].merge(tables["fp16"])
    with pytest.raises(TableError, match="dtype is 'half'"):
        import_tinynas_trt(tmp_path / "conv_fp16.txt", TARGET, dtype="half")
    plain = tmp_path / "plain.csv"
    plain.write_text("kind,m,k,n,latency_us\nmatmul,1,8,9,2\n")
    half = import_plain_csv(plain, TARGET, dtype="float16")
    assert half.measurements[0].workload.dtype == half.target.precision == "float16"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffkind,m,k,n,latency_us\nmatmul,4,8,9,16.5\n",
        "kind,m,k,n,latency_us\r\nmatmul,4,8,9,16.5\r\n",
        "kind;m;k;n;latency_us\nmatmul;4;8;9;16,5\n",
        "kind\tm\tk\tn\tlatency_us\nmatmul\t4\t8\t9\t16.5\n",
        '"kind","m","k","n","latency_us"\n"matmul","4","8","9","16.5"\n',
        "kind, m, k, n, latency_us\n\nmatmul, 4, 8, 9, 16.5\n\n",
    ],
    ids=["byte order mark", "Windows", "semicolons", "tabs", "quotes", "spaces"],
)
def test_csv_as_spreadsheets_write_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    (row,) = import_plain_csv(path, TARGET).measurements
    assert row.workload == MatMul(4, 8, 9)
    assert row.latency_s == pytest.approx(16.5e-6)


def test_shapes_given_twice_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("kind,m,k,n,latency_us\nmatmul,4,8,9,16.5\nmatmul,4,8,9,17\nmatmul,1,8,9,2\n")
    assert import_plain_csv(path, TARGET).duplicates == {MatMul(4, 8, 9): 2}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "kind,h,w,c_in,c_out,latency_us\nconv2d,14,14,64,128,16,5\n",
            "line 2 has 7 fields and the header 6.*semicolons",
        ),
        (
            "kind,h,w,c_in,c_out,latency_us\n\nconv2d,14,14,64,128\n",
            "line 3 has 5 fields and the header 6",
        ),
        (
            "kind,h,w,c_in,c_in,c_out,latency_us\nconv2d,14,14,64,32,128,16.5\n",
            "the column 'c_in' 2 times",
        ),
        ('kind,m,k,n,latency_us\nmatmul,1,8,9,"2\n', "line 2 is no CSV"),
        ("kind,m,k,n,latency_us\nmatmul,1,8.5,9,2\n", "line 2.*k is '8.5'.*whole number"),
        ("kind,m,k,n,latency_us\nmatmul,1,8,9,fast\n", "line 2.*latency_us is 'fast'"),
        ("kind,m,k,n,weights,latency_us\nmatmul,1,8,9,yes,2\n", "weights is 'yes'.*True or False"),
        ("", "the header is ''"),
        ("kind,h\nconv2d,1\n", "exactly one of"),
        ("kind,latency_s,latency_ms\n", "exactly one of"),
        ("kind,color,latency_s\n", "expected kind"),
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
