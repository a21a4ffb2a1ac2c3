"""Errors name the argument, what came and what was expected; Meta kernels; the plan."""

import copy
import json

import pytest
import torch
from operators import RelativeBias, RelativeBias2d, attend, attend_2d, inputs, plan
from tables import noise

pytestmark = pytest.mark.host

Q, K, V, W = inputs(2, 6)
BIAS = noise(6, 1)
PACKED = inputs(12)
OFFSETS = torch.tensor([0, 5, 12], dtype=torch.int32)


def call(**changes):
    arguments = dict(q=Q, k=K, v=V, projection=W, bias=BIAS) | changes
    tensors = [arguments.pop(name) for name in ("q", "k", "v", "projection", "bias")]
    return attend(*tensors, **arguments)


def packed(**changes):
    names = dict(zip(("q", "k", "v", "projection"), PACKED))
    return call(**(names | dict(cu_seqlens=OFFSETS) | changes))


def with_value(index, value):
    bias = BIAS.clone()
    bias[0, index] = value
    return bias


BAD_CALLS = [
    (dict(q=Q[0]), r"q: found shape \[6, 2, 8\], expected \[batch, n, heads, head_dim\]"),
    (dict(k=K[:, :5]), r"k: found shape \[2, 5, 2, 8\], expected q's \[2, 6, 2, 8\]"),
    (dict(v=V[:, :, :1]), r"v: found shape \[2, 6, 1, 5\], expected q's \[2, 6, 2\] and a head size"),
    (dict(q=Q[..., :0], k=K[..., :0]), r"q: found head size 0, expected 1 or more"),
    (dict(q=Q.int()), r"q: found dtype Int, expected Float, BFloat16, Half or Double"),
    (dict(k=K.half()), r"k: found dtype Half, expected q's Float"),
    (dict(v=V.double()), r"v: found dtype Double, expected q's Float"),
    (dict(q=Q.transpose(2, 3).contiguous().transpose(2, 3)), r"q: found a last dimension of stride 2, expected a contiguous"),
    (dict(q=Q.clone().requires_grad_()), r"q: found a tensor that requires grad, expected none"),
    (dict(k=K.to("meta")), r"k: found device meta, expected q's cpu"),
    (dict(projection=W[..., :7]), r"projection: found shape \[2, 6, 7\], expected \[features, 8\] or \[2, features, 8\]"),
    (dict(projection=W[:1]), r"projection: found shape \[1, 6, 8\]"),
    (dict(projection=W[:, :0]), r"projection: found shape \[2, 0, 8\]"),
    (dict(projection=W.double()), r"projection: found dtype Double, expected Float"),
    (dict(bias=BIAS[:1]), r"bias: found 1 heads, expected q's 2"),
    (dict(bias=BIAS[:, 1:]), r"bias: found shape \[2, 10\], expected \[heads, 2L-1\], an odd number"),
    (dict(bias=BIAS[0]), r"bias: found shape \[11\], expected \[heads, 2L-1\]"),
    (dict(bias=BIAS.double()), r"bias: found dtype Double, expected Float"),
    (dict(bias=BIAS.clone().requires_grad_()), r"bias: found a tensor that requires grad"),
    (dict(bias=with_value(2, torch.nan)), r"bias: found NaN, expected numbers or -inf"),
    (dict(bias=with_value(2, torch.inf)), r"bias: found \+inf, expected numbers or -inf"),
    (dict(bias=with_value(5, -torch.inf)), r"bias: found -inf at distance 0, expected a number there"),
    (dict(feature_map="relu"), r'feature_map: found "relu", expected "prf" or "trf"'),
    (dict(scale=float("nan")), r"scale: found nan, expected a finite number"),
    (dict(workspace_bytes=-1), r"workspace_bytes: found -1, expected 0 \(no limit\) or more"),
    (dict(algorithm="magic"), r'algorithm: found "magic", expected one of "auto", '),
    (dict(q=Q.double(), k=K.double(), v=V.double(), algorithm="direct"), r"q: found dtype Double, expected .* algorithm \"direct\""),
    (dict(seqlens=[6, 6]), r"seqlens: found lengths, expected none without cu_seqlens"),
    (dict(bias=RelativeBias(BIAS, "trf", False, 0, 1e-5)), r'feature_map: found "prf", expected "trf" as the bias was'),
    (dict(bias=RelativeBias(BIAS, "prf", True, 0, 1e-5)), r"causal: found false, expected true as the bias was"),
]

BAD_PACKED_CALLS = [
    (dict(q=Q), r"q: found shape \[2, 6, 2, 8\], expected \[tokens, heads, head_dim\]"),
    (dict(cu_seqlens=OFFSETS.long()), r"cu_seqlens: found dtype Long, expected Int"),
    (dict(cu_seqlens=OFFSETS[None]), r"cu_seqlens: found shape \[1, 3\], expected \[sequences \+ 1\]"),
    (dict(cu_seqlens=OFFSETS[:0]), r"cu_seqlens: found shape \[0\], expected \[sequences \+ 1\]"),
    (dict(cu_seqlens=OFFSETS + 1), r"cu_seqlens: found 1 in element 0, expected 0"),
    (dict(cu_seqlens=OFFSETS[:2]), r"cu_seqlens: found 5 in the last element, expected q's 12 tokens"),
    (dict(cu_seqlens=OFFSETS[[0, 2, 1, 2]]), r"cu_seqlens: found 5 after 12 in element 2, expected no smaller number"),
    (dict(seqlens=[12]), r"seqlens: found 1 lengths, expected 2 as in cu_seqlens"),
    (dict(seqlens=[6, 6]), r"seqlens: found 6 in element 0, expected 5 as in cu_seqlens"),
]


@pytest.mark.parametrize("changes, message", BAD_CALLS)
def test_bad_call(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(**changes)


@pytest.mark.parametrize("changes, message", BAD_PACKED_CALLS)
def test_bad_packed_call(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        packed(**changes)


@pytest.mark.parametrize("arguments, message", [
    ((BIAS, "elu", False, 0, 1e-5), r'feature_map: found "elu"'),
    ((BIAS, "prf", False, -1, 1e-5), r"max_len: found -1, expected 0"),
    ((BIAS, "prf", False, 0, 0.0), r"tolerance: found 0, expected 1e-5 or more"),
    ((with_value(0, torch.nan), "prf", False, 0, 1e-5), r"bias: found NaN"),
])
def test_bad_relative_bias(arguments, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        RelativeBias(*arguments)


@pytest.mark.parametrize("changes, message", [
    (dict(bias=torch.zeros(2, 3)), r"bias: found shape \[2, 3\], expected \[heads, 2H-1, 2W-1\]"),
    (dict(bias=torch.zeros(2, 3, 4)), r"bias: found shape \[2, 3, 4\], expected \[heads, 2H-1, 2W-1\], an odd number"),
    (dict(bias=torch.full((2, 3, 3), -torch.inf)), r"bias: found -inf at distance 0"),
    (dict(grid=(2, 4)), r"grid: found 2 x 4, expected height x width of q's 6 tokens"),  # as with a prefix token too many
    (dict(grid=(-2, -3)), r"grid: found -2 x -3"),
])
def test_bad_grid_call(changes, message):
    arguments = dict(bias=torch.zeros(2, 3, 3), grid=(2, 3)) | changes
    with pytest.raises((ValueError, TypeError), match=message):
        attend_2d(Q, K, V, W, arguments["bias"], arguments["grid"])


@pytest.mark.parametrize("arguments, message", [
    ((torch.zeros(2, 3), [2, 3], "prf", 1e-5), r"bias: found shape \[2, 3\], expected \[heads, 2H-1, 2W-1\]"),
    ((torch.full((2, 3, 3), torch.nan), [2, 3], "prf", 1e-5), r"bias: found NaN"),
    ((torch.zeros(2, 3, 3), [2], "prf", 1e-5), r"grid: found .*expected a height and a width of 1 or more"),
    ((torch.zeros(2, 3, 3), [0, 3], "prf", 1e-5), r"grid: found"),
    ((torch.zeros(2, 3, 3), [2, 3], "elu", 1e-5), r'feature_map: found "elu"'),
    ((torch.zeros(2, 3, 3), [2, 3], "prf", 1e-6), r"tolerance: found 1e-06, expected 1e-5 or more"),
])
def test_bad_relative_bias_2d(arguments, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        RelativeBias2d(*arguments)


@pytest.mark.parametrize("grid, heads, feature_map, message", [
    ([3, 3], 2, "prf", r"grid: found 3 x 3, expected height x width of q's 6 tokens"),
    ([2, 3], 3, "prf", r"bias: found 3 heads, expected q's 2"),
    ([2, 3], 2, "trf", r'feature_map: found "prf", expected "trf" as the bias was'),
])
def test_bad_prepared_grid_call(grid, heads, feature_map, message):
    with pytest.raises(ValueError, match=message):
        attend_2d(Q, K, V, W, RelativeBias2d(torch.zeros(heads, 3, 3), grid, feature_map, 1e-5))


def test_gradients_are_ignored_without_grad_mode():
    with torch.no_grad():
        assert torch.equal(call(q=Q.clone().requires_grad_()), call())
    with torch.inference_mode():
        assert torch.equal(call(q=Q.clone()), call())


def test_meta():
    q, k, v, w, bias = (t.to("meta") for t in (Q.half(), K.half(), V.half(), W, BIAS))
    for out in (attend(q, k, v, w, bias), attend_2d(q, k, v, w, torch.zeros(2, 3, 3, device="meta"), (2, 3)),
                attend(q, k, v, w, RelativeBias(BIAS, "prf", False, 0, 1e-5)),
                attend_2d(q, k, v, w, RelativeBias2d(torch.zeros(2, 3, 3), [2, 3], "prf", 1e-5))):
        assert out.is_meta and out.shape == V.shape and out.dtype == torch.float16
    q, k, v, w = (t.to("meta") for t in PACKED)
    assert attend(q, k, v, w, bias, cu_seqlens=OFFSETS.to("meta")).shape == v.shape
    with pytest.raises(ValueError, match="k: found shape"):
        attend(q, k[:5], v, w, bias, cu_seqlens=OFFSETS.to("meta"))


def test_relative_bias_can_be_copied():
    bias = copy.deepcopy(RelativeBias(BIAS, "trf", True, 77, 1e-4))
    assert torch.equal(bias.table(), BIAS)
    assert (bias.feature_map(), bias.causal(), bias.max_len(), bias.tolerance()) == ("trf", True, 77, 1e-4)
    table = torch.randn(2, 3, 5)
    bias = copy.deepcopy(RelativeBias2d(table, [4, 7], "trf", 1e-4))
    assert torch.equal(bias.table(), table)
    assert (bias.grid(), bias.feature_map(), bias.tolerance()) == ([4, 7], "trf", 1e-4)


def test_relative_bias_owns_its_table():
    bias = BIAS.clone()
    prepared = RelativeBias(bias, "prf", False, 0, 1e-5)
    bias.fill_(7)
    assert torch.equal(prepared.table(), BIAS)


def test_plan():
    lengths = [100, 0, 1 << 20, 7]
    groups = json.loads(plan(RelativeBias(BIAS, "prf", False, 1 << 20, 1e-5), lengths, 32, 16, "cpu", "float32", 0))["groups"]
    for head in (0, 1):  # every head computes every sequence that is not empty, once
        assert sorted(n for g in groups if head in g["heads"] for n in g["lengths"]) == [7, 100, 1 << 20]
    for group in groups:
        assert set(group) >= {"heads", "lengths", "algorithm", "reason", "error_bound", "predicted_ms"}
        assert group["error_bound"] <= 1e-5 and group["predicted_ms"] > 0 and group["reason"]


@pytest.mark.parametrize("changes, message", [
    ({1: [-1]}, r"seqlens: found -1 in element 0"),
    ({2: 0}, r"head_dim: found 0"),
    ({3: 0}, r"features: found 0"),
    ({4: "tpu"}, r'device: found "tpu", expected "cpu"'),
    ({5: "int8"}, r'dtype: found "int8"'),
    ({6: -1}, r"workspace_bytes: found -1"),
])
def test_bad_plan(changes, message):
    arguments = [RelativeBias(BIAS, "prf", False, 0, 1e-5), [5], 8, 6, "cpu", "float32", 0]
    for index, value in changes.items():
        arguments[index] = value
    with pytest.raises((ValueError, RuntimeError), match=message):
        plan(*arguments)
