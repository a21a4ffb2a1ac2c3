#!/usr/bin/env python3
"""Times the attention operator on a GPU beside what a user would otherwise run, in one process.

Contenders, batch B, 12 heads, d = 64, --features m, bfloat16 (textbook: float32):
  cudnn, flash   scaled_dot_product_attention by that backend, no relative bias: the attention a user has today
  dense bias     scaled_dot_product_attention with the table as a dense [heads, n, n] bias
  flex           FlexAttention compiled with the table as its score_mod
  linear         (phi(q) (phi(k)^T v)) / ... without any relative bias, phi computed by torch: the least work there is
  textbook       the paper's algorithm: torch.fft over the n x m x d expansion, a channel group at a time where it would not fit
  auto, structured, low_rank, direct, fft   longwave::rpe_attention.prepared with that algorithm

A contender is captured in a CUDA graph (or, where it cannot be, or takes more than 0.4 s, called) and timed by events around each replay;
contenders take turns, so that a drift of the clocks hits all alike. A row keeps the median, the quartiles and the number of runs;
`eager_ms` is the median of plain calls one after the other, `workspace_bytes` what a call takes beside its inputs. Beyond --quadratic
tokens the times of quadratic contenders are those of the longest measured length times the square of the ratio: `extrapolated_from`.

Ours and the textbook's algorithm are compared with float64, |error| / max |v|: all rows up to --check tokens, where two runs must be
equal bit by bit, else some rows of every head. A run takes as long as its problems; --append adds to the JSON what it lacks.

  bench/attention_gpu.py --build build/cpu-release --out bench/results/attention_gpu.json
"""

import argparse
import json
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from attention_cpu import tables

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADS, DIM = 12, 64
OURS = ("auto", "structured", "low_rank", "direct", "fft")
PEERS = ("cudnn", "flash", "dense bias", "flex", "linear", "textbook")
QUADRATIC = ("cudnn", "flash", "flex", "direct")
COMPILE_SECONDS = 40  # for FlexAttention


class Problem:
    """Fresh random inputs, a table and what computes attention from them."""

    def __init__(self, batch: int, n: int, table: str, seed: int, features: int = 64):
        host = torch.Generator().manual_seed(seed)
        self.generator = torch.Generator("cuda").manual_seed(seed)
        self.batch, self.n = batch, n
        self.q, self.k, self.v = (self.normal(batch, n, HEADS, DIM).bfloat16() for _ in range(3))
        self.features_count = features
        self.w = self.normal(features, DIM)
        self.bias = tables(HEADS, n, host)[table].float().contiguous()
        self.prepared = torch.classes.longwave.RelativeBias(self.bias, "prf", False, n, 1e-5)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.generator, device="cuda")

    def ours(self, algorithm, *inputs):
        q, k, v = inputs or (self.q, self.k, self.v)
        return torch.ops.longwave.rpe_attention.prepared(q, k, v, self.w, self.prepared, algorithm=algorithm)

    def plan(self):
        lengths = [self.n] * self.batch
        plan = torch.ops.longwave.plan_attention(self.prepared, lengths, DIM, self.features_count, "cuda", "bfloat16", 0)
        return json.loads(plan)["groups"]

    def features(self, x):
        """phi without its constant: float32 [batch, n, heads, features]."""
        y = torch.nn.functional.normalize(x.float(), dim=-1)
        return torch.exp(y @ self.w.T - 0.5 * (y * y).sum(-1, keepdim=True))

    def dense_table(self):
        distance = torch.arange(self.n)[None, :] - torch.arange(self.n)[:, None] + self.n - 1
        return self.bias.cuda()[:, distance.cuda()].bfloat16()[None]

    def textbook(self):
        """Channel groups of at most 2^31 bytes of spectrum."""
        n, size = self.n, 2 * self.n
        center = n - 1
        out = torch.empty_like(self.v)
        c = torch.exp(self.bias - self.bias.amax(1, keepdim=True)).cuda()
        first = torch.zeros(HEADS, size, device="cuda")
        first[:, 0] = c[:, center]
        first[:, 1:n] = c[:, :center].flip(1)
        first[:, size - n + 1 :] = c[:, center + 1 :].flip(1)
        spectrum = torch.fft.rfft(first)
        step = max(1, min(self.features_count, (1 << 31) // (8 * n * (DIM + 1))))
        for b in range(self.batch):
            for h in range(HEADS):
                phi_q, phi_k = self.features(self.q[b, :, h]), self.features(self.k[b, :, h])
                values = torch.cat([self.v[b, :, h].float(), torch.ones(n, 1, device="cuda")], 1)
                total = torch.zeros(n, DIM + 1, device="cuda")
                for f in range(0, self.features_count, step):
                    part = (phi_k[:, f : f + step, None] * values[:, None, :]).reshape(n, -1)
                    moved = torch.fft.irfft(spectrum[h, :, None] * torch.fft.rfft(part, size, dim=0), size, dim=0)[:n]
                    total += torch.einsum("nm,nme->ne", phi_q[:, f : f + step], moved.reshape(n, -1, DIM + 1))
                out[b, :, h] = (total[:, :DIM] / total[:, DIM:]).to(out.dtype)
        return out


def peers(problem: Problem, wanted):
    """Name -> callable. Tensors for them are made here, outside of what is timed."""
    q, k, v = (x.transpose(1, 2).contiguous() for x in (problem.q, problem.k, problem.v))
    made = {}

    def sdpa(backend, mask=None):
        def run():
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(q, k, v, attn_mask=mask)

        return run

    if "cudnn" in wanted:
        made["cudnn"] = sdpa(SDPBackend.CUDNN_ATTENTION)
    if "flash" in wanted:
        made["flash"] = sdpa(SDPBackend.FLASH_ATTENTION)
    if "dense bias" in wanted and problem.n <= 16384:
        table = problem.dense_table()
        made["dense bias"] = lambda: scaled_dot_product_attention(q, k, v, attn_mask=table)
    if "flex" in wanted:
        from torch.nn.attention.flex_attention import flex_attention

        table = problem.bias.cuda()
        torch._dynamo.reset()
        compiled = torch.compile(flex_attention, dynamic=False)
        score = lambda s, b, h, i, j: s + table[h, j - i + problem.n - 1]  # noqa: E731
        # Its default tiles take more shared memory than an H100 has for this score.
        tiles = {"BLOCK_M": 64, "BLOCK_N": 64, "num_stages": 2, "num_warps": 4}
        made["flex"] = lambda: compiled(q, k, v, score_mod=score, kernel_options=tiles)
    if "linear" in wanted:

        def linear():
            phi_q, phi_k = problem.features(problem.q).bfloat16(), problem.features(problem.k).bfloat16()
            state = torch.einsum("bnhm,bnhe->bhme", phi_k, problem.v)
            total = phi_k.sum(1)
            return torch.einsum("bnhm,bhme->bnhe", phi_q, state) / torch.einsum("bnhm,bhm->bnh", phi_q, total)[..., None]

        made["linear"] = linear
    if "textbook" in wanted:
        made["textbook"] = problem.textbook
    return made


def alarm(seconds):
    """Raises RuntimeError in the main thread after so many seconds; 0: no more."""

    def late(*_):
        raise RuntimeError(f"not ready after {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)


def capture(run, took_ms):
    """A graph of `run`, warmed up; `run` itself where it cannot be captured or a call takes too long to be worth it."""
    if took_ms > 400:
        return run, False
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay, True
    except RuntimeError:
        torch.cuda.synchronize()
        return run, False


def timed(run):
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def measure(contenders, seconds):
    """Name -> {"median_ms", ...} or {"refused"}."""
    rows, live = {}, {}
    for name, run in contenders.items():
        try:
            torch.cuda.empty_cache()
            if name == "flex":  # its first call compiles
                alarm(COMPILE_SECONDS)
                run()
                torch.cuda.synchronize()
                alarm(0)
            first = timed(run)
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            took = first if first > 3000 else timed(run)
            rows[name] = {}
            if first <= 3000:
                rows[name]["workspace_bytes"] = torch.cuda.max_memory_allocated() - before
            replay, rows[name]["graph"] = capture(run, took)
            live[name] = (replay, run, [took] if took > 400 else [], [took])
        except Exception as error:  # refuses, does not compile, does not fit
            alarm(0)
            rows[name] = {"refused": " ".join(str(error).split())[:200]}
            torch.cuda.empty_cache()
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or (time.perf_counter() < end and rounds < 100):
        rounds += 1
        for replay, run, times, eager in live.values():
            if times and times[0] > 400 and (rounds > 2 or times[0] > 2000):
                continue
            times.append(timed(replay))
            if rounds % 4 == 1 and not (times[0] > 400):
                eager.append(timed(run))
    for name, (_, _, times, eager) in live.items():
        quartiles = statistics.quantiles(times, n=4) if len(times) > 1 else [times[0]] * 3
        rows[name] |= {
            "median_ms": statistics.median(times), "q1_ms": quartiles[0], "q3_ms": quartiles[2], "runs": len(times),
            "eager_ms": statistics.median(eager),
        }
    return rows


def check(problem: Problem, run, ours):
    """The largest error against float64, relative to max|v|, of every row; two runs of ours must agree bit by bit."""
    out = run()
    assert not ours or torch.equal(out, run()), "differs from run to run"
    exact = problem.ours("reference", problem.q.double(), problem.k.double(), problem.v.double())
    scale = problem.v.double().abs().amax(1, keepdim=True)
    return ((out.double() - exact).abs() / scale).max().item()


def check_rows(problem: Problem, run, rows=8):
    """The same of some rows of every head."""
    out, n, worst = run(), problem.n, 0.0
    chosen = torch.linspace(0, n - 1, rows, device="cuda").long()
    distance = torch.arange(n, device="cuda")[None, :] - chosen[:, None] + n - 1
    for h in range(HEADS):
        q, k, v = (x[0, :, h] for x in (problem.q[:, chosen], problem.k, problem.v))
        phi_q, phi_k = (
            torch.exp(torch.nn.functional.normalize(x.double(), dim=-1) @ problem.w.double().T) for x in (q, k)
        )
        weights = (phi_q @ phi_k.T) * torch.exp(problem.bias[h].cuda().double()[distance])
        exact = (weights @ v.double()) / weights.sum(1, keepdim=True)
        worst = max(worst, ((out[0, chosen, h].double() - exact).abs() / v.double().abs().amax(0)).max().item())
    return worst


def extrapolated(rows, row):
    """A quadratic contender's time from the longest length where it was measured; None where it never was."""
    known = [r for r in rows if "median_ms" in r and "extrapolated_from" not in r and r["n"] < row["n"]
             and all(r.get(key, 64) == row[key] for key in ("batch", "contender", "features"))
             and (r["table"] == row["table"] or row["contender"] in ("cudnn", "flash"))]  # fmt: skip
    if not known:
        return None
    last = max(known, key=lambda r: r["n"])
    return row | {"median_ms": last["median_ms"] * (row["n"] / last["n"]) ** 2, "extrapolated_from": last["n"]}


def machine():
    query = "name,clocks.sm,clocks.mem,clocks.max.sm,power.draw,driver_version"
    smi = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True)
    return {"gpu": torch.cuda.get_device_name(), "nvidia_smi": {"fields": query, "after": smi.stdout.strip()},
            "torch": torch.__version__}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, required=True, help="build folder with both libraries")
    parser.add_argument("--n", type=int, nargs="+", default=[1024, 2048, 4096, 16384, 65536, 131072])
    parser.add_argument("--short", type=int, nargs=2, default=[32, 512], metavar=("BATCH", "N"), help="a batch of short sequences; 0 0: none")
    parser.add_argument("--features", type=int, default=64, help="m")
    parser.add_argument("--append", action="store_true", help="keep the rows of --out that this run does not measure")
    parser.add_argument("--tables", nargs="+", default=["clipped", "alibi", "inverse", "noise"])
    parser.add_argument("--contenders", nargs="+", default=[*PEERS, *OURS])
    parser.add_argument("--check", type=int, default=2048)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each problem, beyond three rounds")
    parser.add_argument("--quadratic", type=int, default=262144, help="the longest n at which quadratic contenders are measured")
    parser.add_argument("--textbook", type=int, default=1048576, help="the longest n of the textbook's algorithm")
    parser.add_argument("--commit", default="", help="what was measured")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    torch.ops.load_library(str(arguments.build / "model/attention/liblongwave_attention.so"))
    torch.ops.load_library(str(arguments.build / "lib/liblongwave_cuda.so"))

    result = {"benchmark": "attention_gpu", "commit": arguments.commit, "machine": machine(),
              "shape": {"heads": HEADS, "head_dim": DIM, "features": 64, "dtype": "bfloat16"}, "rows": []}  # fmt: skip
    if arguments.append and arguments.out.exists():
        result["rows"] = json.loads(arguments.out.read_text())["rows"]
    rows = result["rows"]
    m = arguments.features

    def add(row):
        key = ("batch", "n", "table", "contender", "features")
        row["commit"] = arguments.commit
        rows[:] = [r for r in rows if any(r.get(k, 64) != row[k] for k in key)] + [row]
        took = f"{row['median_ms']:10.4f} ms" if "median_ms" in row else row["refused"][:90]
        print(f"{row['batch']:3} x {row['n']:7} {row['table']:8} {row['contender']:11} {took}"
              + ("~" if "extrapolated_from" in row else "") + (f"  error {row['error']:.1e}" if "error" in row else ""), flush=True)
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")

    short = [tuple(arguments.short)] if arguments.short[0] > 0 else []
    for batch, n in [(1, n) for n in arguments.n] + short:
        for table in arguments.tables:
            problem = Problem(batch, n, table, n, m)
            groups = problem.plan()
            wanted = [c for c in arguments.contenders if c in PEERS and (table == arguments.tables[0] or c == "dense bias")]
            if n > arguments.textbook:
                wanted = [c for c in wanted if c != "textbook"]
            if n > arguments.quadratic:
                wanted = [c for c in wanted if c in ("linear", "textbook")]
            contenders = peers(problem, wanted)
            for algorithm in OURS:
                if algorithm in arguments.contenders and not (algorithm == "direct" and n > arguments.quadratic):
                    contenders[algorithm] = lambda algorithm=algorithm: problem.ours(algorithm)
            for name, row in measure(contenders, arguments.seconds).items():
                row = {"batch": batch, "n": n, "table": table, "contender": name, "features": m} | row
                if "workspace_bytes" in row:
                    row["workspace_bytes"] -= problem.v.numel() * problem.v.element_size()  # the output
                if name == "auto":
                    row["algorithms"] = sorted({group["algorithm"] for group in groups})
                    row["predicted_ms"] = sum(group["predicted_ms"] for group in groups)
                if (name in OURS or name == "textbook") and batch == 1 and row.get("median_ms", 1e9) < 2000:
                    run = contenders[name]
                    row["error"] = check(problem, run, name in OURS) if n <= arguments.check else check_rows(problem, run)
                    assert name not in OURS or row["error"] <= 1e-2, f"{name} errs by {row['error']}"
                add(row)
            for name in QUADRATIC:
                if name in arguments.contenders and name not in contenders and n > arguments.quadratic:
                    row = extrapolated(rows, {"batch": batch, "n": n, "table": table, "contender": name, "features": m})
                    if row is not None and (name not in PEERS or table == arguments.tables[0]):
                        add(row)
    result["machine"] = machine()
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
