"""What was aimed at on a GPU before the first kernel was written, and what bench/results has of it."""

from report_text import milliseconds, times

TOKENS = 1 << 20


def attention_time(data: dict, table: str, contender: str, n: int, batch: int = 1, features: int = 64) -> float:
    """Median ms. Peers without a bias are timed once, for the first table."""
    names = {"n": n, "batch": batch, "features": features, "contender": contender}
    rows = [row for row in data["rows"] if "median_ms" in row and all(row[key] == value for key, value in names.items())]
    peers = rows if contender in ("cudnn", "flash", "linear") else []
    return next(iter([row for row in rows if row["table"] == table] or peers))["median_ms"]


def reached(met: bool) -> str:
    return "met" if met else "**missed**"


def each(values: dict[str, float], show) -> str:
    """Values with what each is of, as "16,384: 15x"; nothing is said of a lone one."""
    return ", ".join((f"{name}: " if name else "") + show(value) for name, value in values.items())


def attention_targets(data: dict) -> list[list[str]]:
    """Rows of the table: what, target, reached, verdict, how it is measured."""
    time = lambda *args, **options: attention_time(data, *args, **options)
    faster = lambda table, n, **options: time(table, "cudnn", n, **options) / time(table, "auto", n, **options)
    rows = []

    def add(what, target, values, met, show, options):
        rows.append([what, target, each(values, show), reached(met), f"`attention_gpu.py {options}`"])

    for n, least in ((16384, 15), (65536, 60), (131072, 120)):
        ratio = faster("clipped", n)
        add(f"clipped table, {n:,} tokens", f"{least}x softmax", {"": ratio}, ratio >= least, times, f"--tables clipped --n {n}")
    floors = {16384: 0.035, 65536: 0.15, 131072: 0.30}
    ratios = {f"{n:,}": time("clipped", "auto", n) / floor for n, floor in floors.items()}
    add("the same, of its floors as they were estimated first, 0.035, 0.15 and 0.30 ms", "3x of them or less", ratios, max(ratios.values()) <= 3, times,
        "--tables clipped --n 16384 65536 131072")  # fmt: skip
    ratios = {f"{batch} x {n:,}": 1 / faster("clipped", n, batch=batch) for batch, n in ((1, 1024), (1, 4096), (32, 512))}
    add("clipped table, short sequences", "softmax's time or less", ratios, max(ratios.values()) <= 1, times, "--tables clipped --n 1024 4096")
    ratios = {f"{n:,}": 1 / faster("noise", n) for n in (512, 1024, 4096, 16384, 65536)}
    add("any table, up to 65,536 tokens", "1.15x of softmax's time or less", ratios, max(ratios.values()) <= 1.15, times,
        "--tables noise --n 512 1024 4096 16384 65536")  # fmt: skip
    flops = lambda n: 2 * n * n * 128 * data["shape"]["heads"]
    rates = {f"{n:,}": flops(n) / time("noise", "direct", n) * 1e-9 for n in (16384, 65536)}
    add("`direct` on it", "450 TFLOP/s", rates, min(rates.values()) >= 450, lambda rate: f"{rate:.0f}", "--tables noise --n 16384 65536")
    for features, leasts in ((64, (1, 5)), (16, (1.3, 12))):
        ratios = {f"{n:,}": faster("noise", n, features=features) for n in (131072, TOKENS)}
        add(f"any table, {features} features, 131,072 and a million tokens", " and ".join(f"{least}x softmax" for least in leasts), ratios,
            all(ratio >= least for ratio, least in zip(ratios.values(), leasts)), times, f"--tables noise --features {features} --n 131072 {TOKENS}")  # fmt: skip
    ratios = {f"{n:,}": time("noise", "textbook", n) / time("noise", "auto" if n == TOKENS else "fft", n) for n in (4096, 16384, 65536, 262144, TOKENS)}
    add("`fft` beside the textbook's", "4x faster", ratios, min(ratios.values()) >= 4, times, "--tables noise --contenders textbook fft")
    workspace = next(row["workspace_bytes"] for row in data["rows"] if row["n"] == TOKENS and row.get("algorithms") == ["fft"] and row["features"] == 64)
    add("its memory at a million tokens", "under 2 GB", {"": workspace}, workspace < 2e9, lambda size: f"{size / 1e9:.2f} GB", f"--tables noise --n {TOKENS}")
    errors = {name: max(row["error"] for row in data["rows"] if row["contender"] == name and "error" in row) for name in ("auto", "direct", "fft")}
    add("error against float64 in bfloat16", "1e-2 of max \\|v\\| or less", errors, max(errors.values()) <= 1e-2, lambda error: f"{error:.1e}", "--check 1024")
    return rows


def encoder_targets(data: dict) -> list[list[str]]:
    """The same of BERT-base's shape."""
    by_batch = {(row["sequences"], row["length"]): row for row in data["rows"]}

    def least(row, prefix):
        return min(value["median_ms"] for name, value in row.items() if name.startswith(prefix))

    rows = []
    for batch, factor in (((1, 16384), 3), ((1, 65536), 10), ((1, 131072), 20), ((32, 512), 1)):
        ratio = least(by_batch[batch], "softmax") / least(by_batch[batch], "longwave")
        rows.append([f"encoder, {batch[0]} x {batch[1]:,}", f"{factor}x the same with softmax", times(ratio), reached(ratio >= factor)])
    ratio = least(by_batch[32, 512], "longwave") / least(by_batch[32, 512], "products_only")
    rows.append(["encoder, 32 x 512", "1.15x of its products alone or less", f"{ratio:.2f}x", reached(ratio <= 1.15)])
    million = by_batch[1, TOKENS]["longwave"]
    rows.append(["encoder, a million tokens", "under 0.8 s, 16 GB beside the weights",
                 f"{million['median_ms'] / 1e3:.2f} s, {million['peak_bytes'] / 1e9:.1f} GB", reached(million["median_ms"] < 800 and million["peak_bytes"] < 16e9)])  # fmt: skip
    graph = by_batch[1, 512]["longwave_graph"]["median_ms"]
    rows.append(["encoder, 1 x 512 as a graph", "under 0.7 ms", f"{milliseconds(graph)} ms", reached(graph < 0.7)])
    return [[*row, "`encoder_gpu.py`"] for row in rows]


def answers_targets(data: dict) -> list[list[str]]:
    """Of the whole server with the bundled model."""
    differences = {dtype: row["largest_difference"] for dtype, row in data["dtypes"].items()}
    met = differences["float32"] <= 1e-4 and differences["bfloat16"] <= 3e-2 and not any(row["labels_that_differ"] for row in data["dtypes"].values())
    return [["the server's answers beside the CPU's", "probabilities within 1e-4, in bfloat16 3e-2; the same labels",
             each(differences, lambda d: f"{d:.1e}"), reached(met), "`serving_gpu_answers.py`"]]  # fmt: skip


def targets_table(attention: dict, encoder: dict, answers: dict) -> str:
    rows = [*attention_targets(attention), *encoder_targets(encoder), *answers_targets(answers)]
    missed = sum("missed" in row[3] for row in rows)
    lines = ["| what | target | reached | | measured by |", "|---|---|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join([*lines, "", f"{len(rows) - missed} of {len(rows)} are met."])
