"""The fused kernel of "direct", in every layout that it has, and which calls it computes."""

import functools
import os
from pathlib import Path

import pytest
import torch
from operators import WHY_NO_CUDA, RelativeBias, error
from tolerances import PROMISE

pytestmark = pytest.mark.gpu

HEADS, SIZE = 12, 64
prepared_op = torch.ops.longwave.rpe_attention.prepared
tests = torch.ops.longwave_tests
if WHY_NO_CUDA is None:
    torch.ops.load_library(str(Path(os.environ["LONGWAVE_BUILD_DIR"]) / "lib/liblongwave_cuda_tests.so"))

# Teams of a block, warpgroups of a team by rows and by keys, passes over the rows of a sequence.
LAYOUTS = [(1, 4, 1, 1), (1, 4, 1, 2), (2, 2, 1, 1), (2, 2, 1, 2), (4, 1, 1, 1), (4, 1, 1, 2), (1, 2, 2, 1), (1, 1, 4, 1)]

BATCHES = {
    "8 x 1,024": [1024] * 8,
    "16 x 512": [512] * 16,
    "16 x 256": [256] * 16,
    "mixed": [1, 65, 0, 512, 129, 449, 63, 64, 0, 255, 257, 3, 128, 960],
}


@pytest.fixture(autouse=True)
def hopper():
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("the fused kernel is for compute capability 9.0")
    with torch.no_grad():
        yield


class Batch:
    """A packed bfloat16 batch of random inputs and a random table."""

    def __init__(self, lengths, causal, features=SIZE, seed=0):
        generator = torch.Generator("cuda").manual_seed(seed)
        self.q, self.k, self.v = (torch.randn(sum(lengths), HEADS, SIZE, generator=generator, device="cuda").bfloat16()
                                  for _ in range(3))
        self.w = torch.randn(features, SIZE, generator=generator, device="cuda")
        table = torch.randn(HEADS, 2 * max(lengths) - 1, generator=torch.Generator().manual_seed(seed))
        self.bias = RelativeBias(table, "prf", causal, 0, 1e-5)
        self.offsets = torch.tensor([0, *lengths], device="cuda").cumsum(0).to(torch.int32)
        self.lengths, self.causal = lengths, causal

    def attend(self, algorithm, dtype=torch.bfloat16):
        return prepared_op(self.q.to(dtype), self.k.to(dtype), self.v.to(dtype), self.w, self.bias, cu_seqlens=self.offsets,
                           seqlens=self.lengths, causal=self.causal, algorithm=algorithm)

    def arguments(self):
        return self.q, self.k, self.v, self.w, self.bias, self.offsets, self.lengths

    @functools.cached_property
    def expected(self):
        return self.attend("reference", torch.float64)

    def check(self, out):
        for end, length in zip(self.offsets.tolist()[1:], self.lengths):
            part = slice(end - length, end)
            if length > 0:
                assert error(out[None, part], self.expected[None, part], self.v[None, part]) <= PROMISE[torch.bfloat16], length


@functools.lru_cache(maxsize=64)
def batch_of(lengths, causal):
    return Batch(list(lengths), causal)


def spoil():
    torch.full((1 << 24,), torch.nan, device="cuda")  # memory that the next call may get


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_layout(layout, lengths, causal):
    longest = tests.fused_max_length(layout)
    batch = batch_of(tuple(min(length, longest) for length in lengths), causal)
    # Few blocks take many items each, one after the other; where keys are split each has its own.
    for lanes in (1, 2, 11) if layout[2] == 1 else (0,):
        out = tests.direct_fused(*batch.arguments(), layout, lanes)
        batch.check(out)
        for _ in range(2):
            spoil()
            assert torch.equal(tests.direct_fused(*batch.arguments(), layout, lanes), out), lanes


@pytest.mark.parametrize("features", [24, 64])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_keys_that_another_sequence_has(layout, features):
    """What lies behind a sequence in memory is loaded with it, and must not count."""
    batch = Batch([100, 65, 127, 1, 191], causal=False, features=features)
    for others in (batch.k[:100], batch.v[:100], batch.k[293:], batch.v[293:]):
        others.fill_(torch.inf)
    out = tests.direct_fused(*batch.arguments(), layout, 1)
    for begin, end in ((100, 165), (165, 292), (292, 293)):
        part = slice(begin, end)
        assert error(out[None, part], batch.expected[None, part], batch.v[None, part]) <= PROMISE[torch.bfloat16]


def kernels(run):
    """Names of the kernels that ran."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
        torch.cuda.synchronize()
    return [event.key for event in profile.key_averages()]


SHORT = BATCHES | {"1 x 64": [64], "1 x 512": [512], "4 x 512": [512] * 4, "32 x 512": [512] * 32, "64 x 128": [128] * 64}


@pytest.mark.parametrize("lengths", SHORT.values(), ids=SHORT)
def test_short_sequences_run_in_the_fused_kernel(lengths):
    batch = batch_of(tuple(lengths), causal=False)
    out = batch.attend("direct")
    batch.check(out)
    spoil()
    assert torch.equal(batch.attend("direct"), out)
    teams, row_groups, key_groups, _ = tests.fused_layout(*batch.arguments())
    fused = [name for name in kernels(lambda: batch.attend("direct")) if "DirectFused" in name]
    assert len(fused) == 1 and f"Config<{teams}, {row_groups}, {key_groups}>" in fused[0]


def test_long_sequences_run_in_tiles_of_device_memory():
    batch = Batch([4096], causal=False)
    assert tests.fused_layout(*batch.arguments()) == []
    names = kernels(lambda: batch.attend("direct"))
    assert any("DirectHopper" in name for name in names) and not any("DirectFused" in name for name in names)
