"""What a runtime is given for a workload computes that workload; every runtime, every kind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from latprof.devices import open_device
from latprof.devices.agent.runtimes._base import Refused
from latprof.devices.agent.runtimes._onnx_few_bits import write_onnx_few_bits
from latprof.devices.agent.runtimes._onnx_int8 import write_onnx_int8
from latprof.devices.agent.runtimes._onnx_model import write_onnx
from latprof.devices.agent.runtimes._tflite_model import write_tflite
from latprof.workloads import (
    ELEMENTWISE_OPS,
    POOL_OPS,
    Attention,
    Conv2d,
    Elementwise,
    MatMul,
    Pool,
    Workload,
)

WORKLOADS: list[Workload] = [
    Conv2d(7, 5, 6, 10),
    Conv2d(9, 9, 6, 10, kernel=3, stride=2),
    Conv2d(9, 9, 6, 9, kernel=5, groups=3),
    Conv2d(8, 8, 12, 12, kernel=3, groups=12),
    Conv2d(9, 9, 12, 12, kernel=5, stride=2, groups=12),
    Conv2d(9, 9, 4, 6, kernel=3, dilation=2),
    Conv2d(16, 16, 3, 8, kernel=4, stride=4, batch=2),
    MatMul(1, 20, 7),
    MatMul(6, 8, 10),
    MatMul(6, 8, 10, batch=3),
    MatMul(6, 8, 10, batch=3, weights=False),
    *(Elementwise(op, 5, 4, 6) for op in ELEMENTWISE_OPS),
    *(Pool(op, 7, 7, 6, kernel=3, stride=2) for op in POOL_OPS),
]
TORCH = pytest.importorskip("torch")


def label(workload: Workload) -> str:
    return workload.family


def reference(w: Workload, x, other, weights, same=False):  # type: ignore[no-untyped-def]
    """The op as torch has it, on (b, c, h, w) arrays; ``weights`` in torch's layouts.

    With ``same``, padding is TFLite's SAME, which pads no patches; odd maps it pads evenly.
    """
    functional = TORCH.nn.functional
    match w:
        case Conv2d():
            padding = 0 if same and w.kernel == w.stride else w.padding
            return functional.conv2d(x, *weights, w.stride, padding, w.dilation, w.groups)
        case MatMul(weights=True):
            return functional.linear(x, *weights)
        case MatMul():
            return x @ other
        case Pool(op="global_avg"):
            return x.mean((2, 3), keepdim=True)
        case Pool(op="max"):
            return functional.max_pool2d(x, w.kernel, w.stride, w.padding)
        case Pool():
            return functional.avg_pool2d(x, w.kernel, w.stride, w.padding, count_include_pad=False)
        case Elementwise(op="layer_norm"):
            return functional.layer_norm(x, (w.c,), *weights)
        case Elementwise(op="softmax"):
            return functional.softmax(x, -1)
        case Elementwise(op="embedding"):
            return functional.embedding(x.long(), weights[0])
        case Elementwise(op="mean"):
            return x.mean(-1, keepdim=True)
        case Elementwise(op="neg" | "rsqrt" | "square" as op):
            return getattr(TORCH, op)(x)
        case Elementwise(op=op):
            names = {"hard_sigmoid": "hardsigmoid", "hard_swish": "hardswish"}
            if op == "add":
                return x + other
            if op in ("mul", "scale"):
                return x * other
            return getattr(functional, names.get(op, op))(x)
    raise AssertionError(w)


@pytest.mark.parametrize("workload", WORKLOADS, ids=label)
def test_onnx_models_are_valid_and_compute_their_op(workload: Workload) -> None:
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    data = write_onnx(workload)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    inputs = {
        i.name: rng.integers(0, 1024, i.shape)
        if "int64" in i.type
        else rng.standard_normal(i.shape, dtype=np.float32)
        for i in session.get_inputs()
    }
    weights = [
        TORCH.from_numpy(onnx.numpy_helper.to_array(t).copy())
        for t in model.graph.initializer
        if t.dims
    ]
    if isinstance(workload, MatMul) and workload.weights:
        # Gemm reads (n, k), as torch does; MatMul reads (k, n); the bias was made first.
        bias, weight = weights
        weights = [weight if workload.batch == 1 else weight.T, bias]
    if isinstance(workload, Conv2d):
        weights.sort(key=lambda t: -t.dim())
    x, *others = (TORCH.from_numpy(v) for v in inputs.values())
    expected = reference(workload, x, *(others or [None]), weights)
    np.testing.assert_allclose(session.run(None, inputs)[0], expected, rtol=1e-4, atol=1e-5)


FEW_BITS = [
    MatMul(m, k, n, batch=batch, weight_bits=bits)
    for bits in (2, 4, 8)
    for m, k, n, batch in ((1, 64, 10, 1), (3, 37, 6, 1), (2, 100, 8, 3))
]


@pytest.mark.parametrize("workload", FEW_BITS, ids=str)
def test_products_of_few_bits_equal_those_of_the_weights_they_stand_for(workload: MatMul) -> None:
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    weight, bias = dequantized(onnx.load_from_string(write_onnx_few_bits(workload)), workload)
    x = np.random.default_rng(0).standard_normal((workload.batch, workload.m, workload.k))
    x = x.astype(np.float32)
    given = x if workload.batch > 1 else x[0]
    exact = given.astype(np.float64) @ weight.T + bias
    rounded = workload.weight_bits == 8  # as level 4 does, inputs are rounded to int8
    for level, share in ((1, 0.02 if rounded else 1e-6), (4, 0.02)):
        data = write_onnx_few_bits(workload, accuracy_level=level)
        session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"x": given})
        np.testing.assert_allclose(found, exact, rtol=0, atol=share * np.abs(exact).max())


def dequantized(model, w: MatMul):  # type: ignore[no-untyped-def]
    """(n, k) weights and (n,) bias of a one-op model, by the definition of its op."""
    import onnx

    (node,) = model.graph.node
    held = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    if node.op_type == "DynamicQuantizeMatMul":
        steps, scales, _, bias = (held.get(name) for name in node.input[1:])
        return (steps.astype(np.float64) * scales).T, bias
    codes, scales, zeros, _, bias = (held.get(name) for name in node.input[1:])
    each = 8 // w.weight_bits
    shifts = np.arange(each) * w.weight_bits
    mask = 2**w.weight_bits - 1
    blocks = -(-w.k // 32)
    steps = (codes[..., None] >> shifts & mask).reshape(w.n, blocks, 32).astype(np.float64)
    zero = (zeros.reshape(w.n, -1)[..., None] >> shifts & mask).reshape(w.n, -1)[:, :blocks]
    values = (steps - zero[..., None]) * scales.reshape(w.n, blocks, 1)
    return values.reshape(w.n, -1)[:, : w.k], bias


@pytest.mark.parametrize("workload", [w for w in FEW_BITS if w.weight_bits > 2], ids=str)
@pytest.mark.parametrize("delegate", [True, False])
def test_tflite_products_of_few_bits_equal_those_of_the_weights_they_stand_for(
    workload: MatMul, delegate: bool
) -> None:
    tflite = pytest.importorskip("ai_edge_litert.interpreter")
    kinds = tflite.OpResolverType
    kind = kinds.AUTO if delegate else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    data = write_tflite(workload)
    net = tflite.Interpreter(model_content=data, experimental_op_resolver_type=kind)
    net.allocate_tensors()
    weight, bias = tflite_weights(data, workload)
    x = np.random.default_rng(0).standard_normal((workload.batch * workload.m, workload.k))
    net.set_tensor(net.get_input_details()[0]["index"], x.astype(np.float32))
    net.invoke()
    got = net.get_tensor(net.get_output_details()[0]["index"])
    exact = x @ weight.T + bias
    np.testing.assert_allclose(got, exact, rtol=0, atol=0.02 * np.abs(exact).max())


def tflite_weights(data: bytes, w: MatMul):  # type: ignore[no-untyped-def]
    """(n, k) weights and (n,) bias of a one-op model, by TFLite's specification."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    _, codes, bias = (model.subgraphs[0].tensors[i] for i in range(3))
    held = [np.asarray(model.buffers[t.buffer].data, np.uint8) for t in (codes, bias)]
    steps = held[0].view(np.int8).astype(np.int64)
    if w.weight_bits == 4:  # two in a byte, the first in the lower half
        halves = np.stack([held[0] & 0xF, held[0] >> 4], 1).ravel()[: w.n * w.k]
        steps = (halves.astype(np.int64) + 8) % 16 - 8
    scale = np.asarray(codes.quantization.scale)
    assert scale.shape == (w.n,)
    return steps.reshape(w.n, w.k) * scale[:, None], held[1].view(np.float32)


def test_where_there_are_no_products_of_few_bits() -> None:
    few = MatMul(1, 64, 10, weight_bits=4)
    for write in (write_onnx, write_onnx_int8):
        with pytest.raises(Refused):
            write(few)
    with pytest.raises(Refused, match="weights of 4 or 8 bits"):
        write_tflite(MatMul(1, 64, 10, weight_bits=2))
    with pytest.raises(Refused, match="torch has no product"):
        pytest.importorskip("latprof.devices.agent.runtimes._torch").build(few)
    with open_device("local") as device:
        (reading,) = device.round([few], measure_s=0.01)
        assert reading.samples_s
        assert "accuracy_level 4" in device.environment()["weights_of_few_bits"]


def test_where_zeros_are_multiplied_like_any_weight() -> None:
    halved = MatMul(1, 64, 32, pattern="2:4")
    for write in (write_onnx, write_onnx_int8, write_tflite):
        with pytest.raises(Refused, match=r"matmul\.2:4: expected all weights"):
            write(halved)
    with pytest.raises(Refused, match="2:4 weights on NVIDIA GPUs alone"):
        pytest.importorskip("latprof.devices.agent.runtimes._torch").build(halved)


@pytest.mark.parametrize("workload", WORKLOADS, ids=label)
def test_tflite_models_are_valid_and_compute_their_op(workload: Workload) -> None:
    tflite = pytest.importorskip("ai_edge_litert.interpreter")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    data = write_tflite(workload)
    model = schema.Model.GetRootAs(data, 0)
    assert (model.Version(), model.SubgraphsLength()) == (3, 1)
    interpreter = tflite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    inputs = []
    for detail in interpreter.get_input_details():
        ids = detail["dtype"] is np.int32
        inputs.append(
            rng.integers(0, 1024, detail["shape"], dtype=np.int32)
            if ids
            else rng.standard_normal(detail["shape"], dtype=np.float32)
        )
        interpreter.set_tensor(detail["index"], inputs[-1])
    interpreter.invoke()
    out = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    constants = [
        TORCH.from_numpy(interpreter.get_tensor(d["index"]))
        for d in interpreter.get_tensor_details()
        if d["name"].startswith("constant") and d["dtype"] is np.float32 and d["shape"].size
    ]
    # Channels last to channels first, where there are maps.
    maps = isinstance(workload, Conv2d | Pool) or (
        isinstance(workload, Elementwise)
        and workload.op not in ("embedding", "layer_norm", "mean", "softmax")
    )
    x, *others = (TORCH.from_numpy(v.transpose(0, 3, 1, 2) if maps else v) for v in inputs)
    constants.sort(key=lambda t: -t.dim())
    if isinstance(workload, Conv2d):
        order = (3, 0, 1, 2) if workload.depthwise else (0, 3, 1, 2)
        constants[0] = constants[0].permute(order)
    expected = reference(workload, x, *(others or [None]), constants, same=True)
    result = out.transpose(0, 3, 1, 2) if maps else out
    np.testing.assert_allclose(result, expected, rtol=2e-3, atol=1e-4)


@pytest.fixture(scope="module", params=["onnxruntime", "tflite", "torch"])
def readings(request: pytest.FixtureRequest) -> Iterator[dict[Workload, object]]:
    with open_device("local", runtime=request.param) as device:
        yield dict(zip(WORKLOADS, device.round(WORKLOADS, measure_s=0.001), strict=True))


def test_every_runtime_times_every_kind(readings: dict[Workload, object]) -> None:
    assert not [reading.error for reading in readings.values() if reading.error]  # type: ignore[attr-defined]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shared", [1, 4])
def test_torch_attends_in_one_kernel(shared: int, causal: bool) -> None:
    w = Attention(8, 6, 6, 16, heads_per_kv=shared, causal=causal, batch=2)
    module, shapes = pytest.importorskip("latprof.devices.agent.runtimes._torch").build(w)
    generator = TORCH.Generator().manual_seed(0)
    q, k, v = (TORCH.randn(shape, generator=generator) for shape in shapes.values())
    scores = q @ k.repeat_interleave(shared, 1).transpose(2, 3) / 4
    if causal:
        scores = scores.masked_fill(TORCH.ones(6, 6).triu(1).bool(), -TORCH.inf)
    expected = scores.softmax(-1) @ v.repeat_interleave(shared, 1)
    np.testing.assert_allclose(module(q, k, v), expected, rtol=1e-4, atol=1e-5)
    with open_device("local", runtime="torch") as device:
        (reading,) = device.round([w], measure_s=0.001)
        assert not reading.error
        assert reading.samples_s


def test_attention_that_no_kernel_does() -> None:
    build = pytest.importorskip("latprof.devices.agent.runtimes._torch").build
    with pytest.raises(Refused, match="expected window 0"):
        build(Attention(8, 6, 6, 16, window=4))
    with pytest.raises(Refused, match="2 causal queries of 6 keys"):
        build(Attention(8, 2, 6, 16, causal=True))
    for write in (write_onnx, write_tflite):
        with pytest.raises(Refused, match="no writer for attention"):
            write(Attention(8, 6, 6, 16))


def test_tflite_chains_feed_each_op_from_the_one_before() -> None:
    tflite = pytest.importorskip("ai_edge_litert.interpreter")
    chain = [Conv2d(8, 8, 3, 6), Elementwise("hard_swish", 8, 8, 6), Pool("global_avg", 8, 8, 6)]
    interpreter = tflite.Interpreter(model_content=write_tflite(chain))
    interpreter.allocate_tensors()
    assert list(interpreter.get_output_details()[0]["shape"]) == [1, 1, 1, 6]
    with pytest.raises(Refused, match="reads"):
        write_tflite([Conv2d(8, 8, 3, 6), Pool("max", 8, 8, 7)])
    with pytest.raises(Refused, match="no workloads"):
        write_tflite([])


@pytest.mark.parametrize(("write", "dtype"), [(write_onnx, "int8"), (write_tflite, "float16")])
def test_precisions_without_a_writer_are_refused(write: object, dtype: str) -> None:
    assert callable(write)
    with pytest.raises(Refused, match=f"{dtype}: expected float32"):
        write(Conv2d(7, 7, 4, 4, dtype=dtype))


@pytest.mark.parametrize(
    "workload",
    [
        Conv2d(7, 5, 8, 12, dtype="int8"),
        Conv2d(9, 9, 8, 12, kernel=3, stride=2, dtype="int8"),
        Conv2d(8, 8, 12, 12, kernel=3, groups=12, dtype="int8"),
        MatMul(6, 16, 10, dtype="int8"),
        MatMul(6, 16, 10, batch=3, weights=False, dtype="int8"),
        Elementwise("add", 5, 4, 6, dtype="int8"),
        Elementwise("scale", 5, 4, 6, dtype="int8"),
        Elementwise("sigmoid", 5, 4, 6, dtype="int8"),
        *(Pool(op, 7, 7, 6, kernel=3, stride=2, dtype="int8") for op in POOL_OPS),
    ],
    ids=label,
)
def test_int8_onnx_models_compute_their_op_within_a_step(workload: Workload) -> None:
    onnx = pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    data = write_onnx_int8(workload)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    inputs = {i.name: rng.integers(100, 156, i.shape, dtype=np.uint8) for i in session.get_inputs()}
    out = session.run(None, inputs)[0].astype(np.float32)
    arrays = [onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(data).graph.initializer]
    step = next(float(a) for a in arrays if a.dtype == np.float32)
    scales = {np.dtype(np.int8): step, np.dtype(np.int32): step * step}
    weights = [
        TORCH.from_numpy((a * scales[a.dtype]).astype(np.float32))
        for a in arrays
        if a.dtype in scales and a.ndim
    ]
    x, *others = (
        TORCH.from_numpy((v.astype(np.float32) - 128) * np.float32(step)) for v in inputs.values()
    )
    expected = reference(workload, x, *(others or [None]), weights).numpy() / step + 128
    assert np.abs(out - np.clip(np.rint(expected), 0, 255)).max() <= 1
