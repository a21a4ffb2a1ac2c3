"""The operator libraries under test, inputs for them and the error measure.

Inputs and results are CPU tensors; `attend` and `attend_2d` compute on the device that the fixture `device` has chosen.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from longwave_torch.reference import features, prepare
from tables import HEADS
from tolerances import PROMISE

_BUILD = Path(os.environ["LONGWAVE_BUILD_DIR"])
_CUDA_LIBRARY = _BUILD / "lib/liblongwave_cuda.so"
torch.ops.load_library(str(_BUILD / "model/attention/liblongwave_attention.so"))

WHY_NO_CUDA = None if torch.cuda.is_available() else "no CUDA device"
if WHY_NO_CUDA is None and not _CUDA_LIBRARY.exists():
    WHY_NO_CUDA = f"no {_CUDA_LIBRARY}"
if WHY_NO_CUDA is None:
    torch.ops.load_library(str(_CUDA_LIBRARY))

device = "cpu"  # set by the fixture of that name


def on_device(operator):
    """The operator with CPU tensors moved to `device` and the result moved back."""

    def moved(value):
        return value.to(device) if isinstance(value, torch.Tensor) and value.device.type == "cpu" else value

    def call(*args, **options):
        out = operator(*map(moved, args), **{name: moved(value) for name, value in options.items()})
        return out.cpu() if out.is_cuda else out

    return call


attend = on_device(torch.ops.longwave.rpe_attention)
attend_2d = on_device(torch.ops.longwave.rpe_attention_2d)
attend_prepared = on_device(torch.ops.longwave.rpe_attention.prepared)
attend_2d_prepared = on_device(torch.ops.longwave.rpe_attention_2d.prepared)
plan = torch.ops.longwave.plan_attention
plan_2d = torch.ops.longwave.plan_attention_2d
RelativeBias = torch.classes.longwave.RelativeBias
RelativeBias2d = torch.classes.longwave.RelativeBias2d

DIM, VALUE_DIM, FEATURES = 8, 5, 6
KINDS = {
    "normalised": {},
    "scaled": {"scale": 2.4},
    "unnormalised": {"normalize": False, "scale": 0.7},
    "trf": {"feature_map": "trf"},
}


def inputs(*leading, seed=0, features=FEATURES, heads=HEADS, dim=DIM, value_dim=VALUE_DIM, shared=False):
    """q, k [*leading, heads, dim], v [*leading, heads, value_dim] and W, standard normal float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    q, k = normal(*leading, heads, dim), normal(*leading, heads, dim)
    v = normal(*leading, heads, value_dim) * torch.logspace(-2, 2, value_dim)  # channels of very different size
    return q, k, v, normal(features, dim) if shared else normal(heads, features, dim)


def make_hostile(trick, q, k, w, normalize):
    """Changes q and k in place for the worst: see the branches."""
    if trick == "outlier":  # one key whose features are as large as they can be, small ones after it
        key = k.shape[1] // 3
        k[:, key] = 10 * w[:, 0] if normalize else 3 * w[:, 0]
        k[:, key + 1:] = -k[:, key + 1:].abs() * w[:, 0].sign()
    elif trick == "aligned":  # all queries along one row of W, all keys along another
        q += 20 * w[:, 0]
        k += 20 * w[:, 1]
    elif trick == "common":  # far from 0
        k += 40
    elif trick == "huge":  # squares beyond float32
        q *= 1e20
        k *= 1e20
    else:
        raise AssertionError(trick)


def error(out, expected, v):
    """The largest |out - expected| / max|v| over sequence, head and channel: tensors [batch, n, heads, channels]."""
    return largest(row_errors(out, expected, v)) if out.numel() else 0.0


def keep_promise_or_refuse(call, algorithms, expected, v, condition=1, why=""):
    """Algorithm -> the largest error of call(algorithm), for those that keep the promise; all others refuse, but for those that never may.

    condition: how many times the promise a row may err, [batch, n, heads]; the errors are in units of it. why: a part of what refusals say.
    """
    answered = {}
    for algorithm in algorithms:
        try:
            out = call(algorithm)
        except ValueError as refusal:
            assert algorithm not in ("auto", "direct"), refusal
            assert f'"{algorithm}"' in str(refusal) and why in str(refusal)
            continue
        assert out.shape == v.shape and out.dtype == v.dtype
        answered[algorithm] = largest(row_errors(out, expected, v) / condition)
        assert answered[algorithm] <= PROMISE[out.dtype], algorithm
    return answered


def largest(errors):
    """NaN counts as the largest."""
    return errors.nan_to_num(nan=math.inf).max().item() if errors.numel() else 0.0


def row_errors(out, expected, v):
    """The largest |out - expected| / max|v| of every row: [batch, n, heads]."""
    return ((out.double() - expected).abs() / v.double().abs().amax(1, keepdim=True)).amax(-1)


def trf_condition(attend64, q, k, w, normalize=True, scale=1.0):
    """How many times prf's error a row of trf may have: [batch, n, heads].

    Its signed products, over keys and features, cancel in the denominator: their sizes' sum over its size.
    attend64: the attention in question for q, k and any values, in float64.
    """
    batch, n, heads, _ = q.shape
    one_hot = torch.eye(n, dtype=torch.float64)[None, :, None].expand(batch, n, heads, n)
    shares = attend64(q.double(), k.double(), one_hot).abs()
    conditions = []
    for head in range(heads):
        part = (w if w.dim() == 2 else w[head]).double()
        phi_q, phi_k = (features(prepare(x[:, :, head].double(), normalize, scale), part, "trf")[0] for x in (q, k))
        lost = (phi_q.abs() @ phi_k.abs().mT) / (phi_q @ phi_k.mT).abs()  # within a weight
        conditions.append((shares[:, :, head] * lost).sum(-1))
    return torch.stack(conditions, -1)


def exact_rows(q, k, v, w, bias, rows, causal=False):
    """Some rows of normalised prf attention straight from the formula, in float64: [rows, heads, value_dim] of q, k, v [n, heads, ...].

    w: [features, dim] for all heads. bias: [heads, 2L - 1] of any L.
    """
    n, edge = len(q), bias.shape[1] // 2
    distance = torch.arange(n) - torch.as_tensor(rows)[:, None]
    weights = torch.exp(bias.double()[:, distance.clamp(-edge, edge) + edge])
    if causal:
        weights = weights.masked_fill(distance > 0, 0)
    phi = lambda x: torch.exp(prepare(x.double().transpose(0, 1), True, 1.0) @ w.double().T)  # beside a constant factor
    weights = weights * torch.cat([phi(q[rows]) @ phi(part).mT for part in k.split(1 << 16)], -1)
    return (weights @ v.double().transpose(0, 1) / weights.sum(-1, keepdim=True)).transpose(0, 1)


def projections(w):
    """The projection of each head: w is [features, dim] for all or [heads, features, dim]."""
    return [w] * HEADS if w.dim() == 2 else w.split(1)


def stated_bounds(plans):
    """Algorithm -> the largest error bound that the plans, of one head and length each, state; "auto" -> that of their picks."""
    bounds = {}
    for text in plans:
        group, = json.loads(text)["groups"]
        stated = re.findall(r"(\w+) takes [0-9.e+-]+ ms and errs by at most ([0-9.e+-]+)", group["reason"])
        assert group["heads"] == [0] and group["predicted_ms"] >= 0 and group["algorithm"] in dict(stated)
        for name, bound in [*stated, ("auto", group["error_bound"])]:
            bounds[name] = max(float(bound), bounds.get(name, 0))
    return bounds


def run_alone(script):
    """What a Python script prints, as JSON, in a process of its own, which can import what tests do."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": path})
    return json.loads(ran.stdout)


def doubles(*tensors):
    return [t.double() for t in tensors]
