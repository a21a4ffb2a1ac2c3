"""Where the FFT's rounding errors would show, `fft` refuses and `auto` still keeps the promise."""

import pytest
import torch
from longwave_torch import reference
from operators import attend, distances, doubles, error, inputs, noise, peak
from tolerances import PROMISE

ONE_SIDED = torch.where(distances(1500) > 0, torch.tensor(-20.0), torch.tensor(0.0)).contiguous()
CASES = {
    "one-sided": (ONE_SIDED, {}),
    "causal noise": (noise(1500, 1), {"causal": True}),
    "unnormalised peak": (peak(1500, 12.0), {"normalize": False}),
}


@pytest.mark.parametrize("case", CASES)
def test_refuses(case):
    bias, options = CASES[case]
    q, k, v, w = inputs(1, 1500)
    with torch.no_grad():
        with pytest.raises(ValueError, match='algorithm: "fft" would miss the promised accuracy in .* rows of head'):
            attend(q, k, v, w, bias, algorithm="fft", **options)
        expected = reference.rpe_attention(*doubles(q, k, v, w, bias), **options)
        for algorithm in ("auto", "direct"):
            assert error(attend(q, k, v, w, bias, algorithm=algorithm, **options), expected, v) <= PROMISE[torch.float32]


def test_accepts_where_half_precision_hides_it():
    # An error of 1e-4 matters in float32 and not in bfloat16.
    bias, options = CASES["one-sided"]
    q, k, v, w = inputs(1, 400)
    q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
    expected = reference.rpe_attention(*doubles(q, k, v, w, bias), **options)
    out = attend(q, k, v, w, bias, algorithm="fft", **options)
    assert error(out, expected, v) <= PROMISE[torch.bfloat16]
