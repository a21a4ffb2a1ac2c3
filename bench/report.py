#!/usr/bin/env python3
"""Makes the tables and plots of the documentation from what was measured.

  bench/report.py attention_cpu    rewrites the part of docs/benchmarks.md between its markers, docs/images/attention_cpu.svg, and the
                                   claims in README.md (accuracy from model/pretrained/file-type/1/results.json)
  bench/report.py attention_grid   rewrites its part of docs/benchmarks.md
  bench/report.py attention_gpu    rewrites its part of docs/benchmarks.md and docs/images/attention_gpu.svg
  bench/report.py encoder_gpu      rewrites its part of docs/benchmarks.md
  bench/report.py planner_grid     rewrites its part of docs/benchmarks.md; planner_grid_gpu likewise
  bench/report.py serving          rewrites its part of docs/benchmarks.md and docs/images/serving.svg
  bench/report.py serving_soak     rewrites its part of docs/benchmarks.md
  bench/report.py checkpoint_gaps  rewrites its part of docs/benchmarks.md
  bench/report.py serving_gpu      rewrites its part of docs/benchmarks.md and docs/images/serving_gpu.svg

Plots need matplotlib (pip install matplotlib).
"""

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
OURS = ("auto", "structured", "low_rank", "direct", "fft")
# Tables of README's claims about one attention layer, as it heads their columns.
CLAIMED = {"clipped": "clipped table (as trained)", "alibi": "ALiBi", "inverse": "smooth 1/(1+t)", "noise": "no structure"}


def pyplot():
    """matplotlib's, set to write SVG; loaded here, for tables and claims do without it."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "longwave"  # the same data, the same file
    import matplotlib.pyplot

    return matplotlib.pyplot


def milliseconds(value: float) -> str:
    """Three significant digits, as people read times."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def times(ratio: float) -> str:
    """A ratio as people read it: two digits, no exponent."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def softmax_times(data: dict) -> dict[int, float]:
    """Length -> median ms; of several runs, the least."""
    times_ms = {}
    for row in data["rows"]:
        if row["contender"] == "softmax" and "median_ms" in row:
            times_ms[row["n"]] = min(row["median_ms"], times_ms.get(row["n"], row["median_ms"]))
    return times_ms


def attention_table(data: dict) -> str:
    """A Markdown table per bias table: lengths down, contenders that have a time across, median ms and the ratio to softmax, which sees no table."""
    lines, peers = [], softmax_times(data)
    for table in sorted({row["table"] for row in data["rows"]}):
        rows = [row for row in data["rows"] if row["table"] == table]
        names = list(dict.fromkeys(row["contender"] for row in rows if "median_ms" in row))
        heads = names + (["textbook / auto"] if {"textbook", "auto"} <= set(names) else [])
        lines += [f"**{table} table**, median ms (times softmax's; below 1 is faster)", ""]
        lines += ["| n | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
        for n in sorted({row["n"] for row in rows}):
            by_name = {row["contender"]: row for row in rows if row["n"] == n}
            base = peers.get(n)
            cells = [cell(by_name.get(name), base if name != "softmax" else None) for name in names]
            if heads != names:
                pair = [by_name.get(name, {}).get("median_ms") for name in ("textbook", "auto")]
                cells.append(times(pair[0] / pair[1]) if all(pair) else "-")
            lines.append(f"| {n:,} | " + " | ".join(cells) + " |")
        lines.append("")
    errors = [row["error"] for row in data["rows"] if row["contender"] != "textbook" and "error" in row]
    if errors:
        lines += [f"Largest error of our algorithms against float64 where it was checked: {max(errors):.1e} of max |v|.", ""]
    machine, shape = data["machine"], data["shape"]
    lines.append(
        f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}; batch {shape['batch']}, {shape['heads']} heads, "
        f"d = {shape['head_dim']}, m = {shape['features']}, {shape['dtype']}."
    )
    return "\n".join(lines)


def cell(row: dict | None, base: float | None) -> str:
    """One cell: the median and its ratio, or why there is none."""
    if row is None:
        return "-"
    if "refused" in row:
        return "refuses"
    text = ("~" if "extrapolated_from" in row else "") + milliseconds(row["median_ms"])
    if "algorithms" in row:
        text += " " + "+".join(row["algorithms"])
    return f"{text} ({times(row['median_ms'] / base)})" if base else text


def attention_plot(data: dict, path: pathlib.Path) -> None:
    """Time over n, log-log, one panel per bias table."""
    names, plt = sorted({row["table"] for row in data["rows"]}), pyplot()
    figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names), 4), sharey=True, squeeze=False)
    for axis, table in zip(axes[0], names):
        rows = [row for row in data["rows"] if row["table"] == table and "median_ms" in row]
        for name in dict.fromkeys(row["contender"] for row in rows):
            points = sorted((row["n"], row["median_ms"]) for row in rows if row["contender"] == name)
            axis.plot(*zip(*points), marker="o", label=name, linestyle="-" if name in OURS else "--")
        axis.set(xscale="log", yscale="log", title=f"{table} table", xlabel="tokens")
        axis.set_xticks(sorted({row["n"] for row in rows}), [f"{n:,}" for n in sorted({row["n"] for row in rows})])
        axis.minorticks_off()
        axis.grid(True, alpha=0.3)
    axes[0][0].set_ylabel("ms")
    axes[0][0].legend()
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def claims(data: dict, accuracy: dict) -> str:
    """README's two tables: an attention layer beside softmax, and the bundled model's accuracy."""
    rows = {(row["table"], row["n"], row["contender"]): row for row in data["rows"] if "median_ms" in row}
    lengths, peers = sorted({n for _, n, name in rows if name == "auto"}), softmax_times(data)
    lines = [
        f"One attention layer on {data['machine']['threads']} CPU cores, {data['shape']['heads']} heads of {data['shape']['head_dim']}: "
        "median ms, and how many times faster than PyTorch's softmax attention (below 1: slower).",
        "",
        "| tokens | softmax | " + " | ".join(CLAIMED.values()) + " |",
        "|---|---|" + "---|" * len(CLAIMED),
    ]
    for n in lengths:
        cells = [milliseconds(peers[n])]
        for table in CLAIMED:
            ours = rows.get((table, n, "auto"))
            cells.append(f"{milliseconds(ours['median_ms'])} ({times(peers[n] / ours['median_ms'])})" if ours else "-")
        lines.append(f"| {n:,} | " + " | ".join(cells) + " |")
    shown = ["first 512", "first 2048", "first 8192", "joined 65536"]
    lines += ["", "The bundled model on files of packages that it was not trained on, accuracy in percent:", ""]
    lines += ["| bytes shown | " + " | ".join(shown) + " |", "|---|" + "---|" * len(shown)]
    for key, name in (("model", "file-type, 39 classes"), ("ngrams", "n-grams and logistic regression")):
        lines.append(f"| {name} | " + " | ".join(f"{100 * accuracy[key][s]['accuracy']:.1f}" for s in shown) + " |")
    return "\n".join(lines)


def encoder_table(data: dict) -> str:
    """Batches down: our encoder, the peers and what they share, median ms; then where the time of a small and a large batch goes."""
    names = {
        "longwave": "Longwave",
        "longwave_graph": "as a graph",
        "softmax_cudnn": "softmax, cuDNN",
        "softmax_flash": "softmax, flash",
        "products_only": "products alone",
    }
    lines = ["| batch | " + " | ".join(names.values()) + " | softmax / Longwave | beside the weights |"]
    lines.append("|---|" + "---|" * (len(names) + 2))
    for row in data["rows"]:
        time = {name: row.get(name, {}).get("median_ms") for name in names}
        cells = [milliseconds(time[name]) if time[name] else "-" for name in names]
        ours = min(value for name, value in time.items() if value and name.startswith("longwave"))
        peers = [value for name, value in time.items() if value and name.startswith("softmax")]
        peers += [row[f"{name}_graph"]["median_ms"] for name in names if "median_ms" in row.get(f"{name}_graph", {}) and "softmax" in name]
        ratio = times(min(peers) / ours) if peers else "-"
        lines.append(
            f"| {row['sequences']} x {row['length']:,} | {' | '.join(cells)} | {ratio} | {row['longwave']['peak_bytes'] / 1e9:.2f} GB |"
        )
    for shape, steps in data["steps"].items():
        time = {name: step["median_ms"] for name, step in steps.items()}
        parts = [f"{name} {milliseconds(ms)}" + (f" (product alone {milliseconds(time[f'{name}_product'])})" if f"{name}_product" in time else "")
                 for name, ms in time.items() if not name.endswith("_product")]  # fmt: skip
        lines += ["", f"Steps of all twelve layers at {shape}, ms: {', '.join(parts)}."]
    machine, check = data.get("machine"), data["check"]
    where = data["device"]
    if machine is not None:
        where += f", driver {machine['driver_version']}, SM clock {machine['clocks.sm']} of {machine['clocks.max.sm']}, power limit "
        where += f"{machine['power.limit']}, commit {data['commit']}"
    lines += [
        "",
        f"{where}. Against the CPU in float32: root mean square of the error {check['rms_error']:.1e} "
        f"of that of the values, largest {check['max_error']:.1e} of the largest value.",
    ]
    return "\n".join(lines)


def grid_table(data: dict) -> str:
    """Tables of bias down, lengths and batches across: the pick and how many times the fastest algorithm's time it takes."""
    rows = {(row["table"], (row.get("batch", 1), row["n"])): row for row in data["rows"]}
    batches = sorted({batch for _, batch in rows}, key=lambda batch: (batch[0] > 1, batch))
    names = [f"{n:,}" if batch == 1 else f"{batch} x {n:,}" for batch, n in batches]
    lines = ["| table | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for table in dict.fromkeys(table for table, _ in rows):
        cells = [f"{row['pick']} {row['ratio']:.2f}" if (row := rows.get((table, batch))) else "-" for batch in batches]
        lines.append(f"| {table} | " + " | ".join(cells) + " |")
    worst = max(row["ratio"] for row in data["rows"])
    machine, shape = data["machine"], data["shape"]
    where = machine.get("gpu") or f"{machine['processor']}, {machine['threads']} threads"
    lines += ["", f"Worst: {worst:.2f}. {where}, {shape['heads']} heads, d = m = {shape['head_dim']}, {shape['dtype']}."]
    return "\n".join(lines)


def squares_table(data: dict) -> str:
    """Tables of bias and sides down, contenders across: median ms of one head and the ratio to softmax."""
    names = ["softmax", "auto", "structured", "direct", "fft"]
    lines = ["| table | grid | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    rows = {(row["table"], row["side"], row["contender"]): row for row in data["rows"]}
    for table in dict.fromkeys(row["table"] for row in data["rows"]):
        for side in sorted({row["side"] for row in data["rows"] if row["table"] == table}):
            peers = [row["median_ms"] for (_, s, name), row in rows.items() if (s, name) == (side, "softmax") and "median_ms" in row]
            base = min(peers) if peers else None
            cells = [cell(rows.get((table, side, name)), base if name != "softmax" else None) for name in names]
            lines.append(f"| {table} | {side} x {side} | " + " | ".join(cells) + " |")
    errors = [row["error"] for row in data["rows"] if "error" in row]
    machine, shape = data["machine"], data["shape"]
    lines += [
        "",
        f"Median ms of the CPU for one head on one thread (times softmax's; below 1 is faster). By least times auto takes at most "
        f"{max(row.get('ratio', 1) for row in data['rows']):.2f} times what the fastest algorithm takes. Largest error against float64 where it was checked: {max(errors):.1e} of max |v|. "
        f"{machine['processor']}, torch {machine['torch']}; d = m = {shape['head_dim']}, {shape['dtype']}.",
    ]
    return "\n".join(lines)


def gpu_table(data: dict) -> str:
    """Batches down, contenders across; the peers without a bias are timed once and stand beside every table."""
    lines = []
    peers = {(row["batch"], row["n"]): row["median_ms"] for row in data["rows"] if row["contender"] == "cudnn" and "median_ms" in row}
    for features in dict.fromkeys(row.get("features", 64) for row in data["rows"]):
        some = [row for row in data["rows"] if row.get("features", 64) == features]
        for table in dict.fromkeys(row["table"] for row in some):
            rows = [row for row in some if row["table"] == table]
            lines += [f"**{table} table**, m = {features}, median ms (times cuDNN softmax's; below 1 is faster; ~ extrapolated)", ""]
            lines += [*gpu_rows(rows, peers), ""]
    commits = dict.fromkeys(row.get("commit", data["commit"]) for row in data["rows"])
    machine, shape = data["machine"], data["shape"]
    lines += [*gpu_errors(data["rows"]), ""]
    lines.append(
        f"{machine['gpu']}, torch {machine['torch']}, commit {', '.join(commits)}; {shape['heads']} heads, d = {shape['head_dim']}, "
        f"{shape['dtype']}, each call a CUDA graph where it takes less than 0.4 s."
    )
    return "\n".join(lines)


def gpu_rows(rows: list[dict], peers: dict) -> list[str]:
    """One table's rows; `peers`: cuDNN's time by batch and length."""
    names = [name for name in dict.fromkeys(row["contender"] for row in rows)
             if any("median_ms" in row for row in rows if row["contender"] == name)]  # fmt: skip
    lines = ["| batch x n | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for batch, n in sorted({(row["batch"], row["n"]) for row in rows}):
        by_name = {row["contender"]: row for row in rows if (row["batch"], row["n"]) == (batch, n) and "median_ms" in row}
        base = peers.get((batch, n))
        cells = [cell(by_name.get(name), base if name != "cudnn" else None) for name in names]
        lines.append(f"| {batch} x {n:,} | " + " | ".join(cells) + " |")
    refusals = {row["contender"]: row["refused"] for row in rows if "refused" in row and row["contender"] not in names}
    return lines + [f"\n{name}: {why}" for name, why in refusals.items()]


def gpu_errors(rows: list[dict]) -> list[str]:
    """The largest error against float64 of every contender that computes the same function, by bias table."""
    checked = [row for row in rows if "error" in row]
    names, tables = ([*dict.fromkeys(row[key] for row in checked)] for key in ("contender", "table"))
    lines = ["Largest error against float64, as a share of max |v|:", ""]
    lines += ["| table | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for table in tables:
        errors = {name: max((row["error"] for row in checked if (row["table"], row["contender"]) == (table, name)), default=None) for name in names}
        lines.append(f"| {table} | " + " | ".join("-" if e is None else f"{e:.1e}" for e in errors.values()) + " |")
    return lines


SCENARIOS = {
    "echo_1": "bare gRPC echo, 1 caller",
    "echo_16": "bare gRPC echo, 16 callers",
    "null_1": "model that computes nothing, 1 caller",
    "null_16": "model that computes nothing, 16 callers",
    "null_streams": "the same, 1,000 streams, 4,000 a second",
    "slow_capacity": "model of 20 us a token, 64 callers",
    "slow_overload": "the same asked for 3x its capacity, deadline 500 ms",
    "real_capacity": "file-type, 512 tokens, 32 callers",
    "real_ragged": "file-type, 64 to 4096 tokens, 32 callers",
    "real_at_50%": "file-type, 512 tokens, half of the rate of 32 callers",
    "real_at_50%_long": "the same beside one caller of 65,536 tokens",
    "real_overload": "file-type asked for 3x its capacity, deadline 500 ms",
    "real_invariant": "`--batch_invariant`: 512 tokens, 32 callers",
    "real_invariant_ragged": "`--batch_invariant`: 64 to 4096 tokens, 32 callers",
}


# Fewer answers than these have no rate and no quantiles.
FEW = 20


def scenario_table(runs: dict, scenarios: dict[str, str]) -> list[str]:
    """Scenarios down: what was answered, in time, latency quantiles, refusals. Of few answers their number and the slowest."""
    heads = ["scenario", "answered/s", "in time", "p50", "p95", "p99", "p99.9", "refused", "their p99", "their p99.9"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, title in scenarios.items():
        for index, row in enumerate(runs[name]["classes"]):
            answered, refused = row["answered_ms"], row["refused_ms"]
            rate, times_ms = f"{row['answered_per_s']:,.1f}", [duration(answered.get(q)) for q in ("p50", "p95", "p99", "p99_9")]
            if answered["count"] < FEW:
                rate, times_ms = f"{answered['count']} in {runs[name]['seconds']:g} s", ["-", "-", "-", f"max {duration(answered.get('max'))}"]
            in_time = f"{row['accepted_in_deadline']:.1%}" if "accepted_in_deadline" in row else "-"
            cells = [rate, in_time, *times_ms, f"{refused['count']:,}", duration(refused.get("p99")), duration(refused.get("p99_9"))]
            lines.append(f"| {title if index == 0 else '&nbsp;&nbsp;the long one'} | " + " | ".join(cells) + " |")
    return lines


# What the server was to stay below: added to a bare echo, and until a request is refused.
ADDED_US, REFUSAL_MS = 60, 5


def reached(value: float, limit: float) -> str:
    return "reached" if value < limit else "missed"


def server_adds(first: dict) -> str:
    added = 1e3 * (first["null_1"]["answered_ms"]["p50"] - first["echo_1"]["answered_ms"]["p50"])
    return f"- The server adds {added:.0f} us to a bare echo of the same message, in the median; at most {ADDED_US} were aimed at: {reached(added, ADDED_US)}."


def refusal_times(row: dict) -> str:
    """How soon an overloaded server says no."""
    refused = row["refused_ms"]
    parts = [f"{name} {duration(refused[q])} ({reached(refused[q], REFUSAL_MS)})" for q, name in (("p99", "p99"), ("p99_9", "p99.9"), ("max", "the slowest"))]
    return f"- Less than {REFUSAL_MS} ms to a refusal were aimed at: {', '.join(parts)}."


def invariance_cost(first: dict, prefix: str, equal: str) -> list[str]:
    """What answers equal to the bit cost, where it was measured."""
    if f"{prefix}_invariant" not in first:
        return []
    kept = {name: first[f"{prefix}_invariant{suffix}"]["tokens_per_s"] / first[name]["tokens_per_s"] for name, suffix in ((equal, ""), (f"{prefix}_ragged", "_ragged"))}
    return [f"- With `--batch_invariant` {kept[equal]:.0%} of the tokens a second are left at 512 tokens, {kept[f'{prefix}_ragged']:.0%} with ragged lengths."]


def not_reached(scenarios: dict[str, str], runs: dict) -> list[str]:
    missing = [text for name, text in scenarios.items() if name not in runs]
    return [f"- Not reached in the time that this run had: {'; '.join(missing)}."] if missing else []


def cut_of(bare: dict) -> str:
    """How the batches without a server were cut. Those of a run that names no time were cut by tokens only, unlike the server's."""
    size = f"batches of {bare['batch_p50_ms']:.0f} ms in the median without the server"
    return f"; {size}, cut as it cuts them" if "max_batch_time" in bare else f"; {size}, cut at {bare['max_batch_tokens']:,} tokens only and not, as the server's, at a time, too"


def serving_table(data: dict) -> str:
    """The scenarios, then what follows from them."""
    runs = data["runs"]
    scenarios = {name: text for name, text in SCENARIOS.items() if name in runs}
    lines = scenario_table(runs, scenarios)
    first = {name: runs[name]["classes"][0] for name in scenarios}
    ratio = {name: first[name]["tokens_per_s"] / runs[bare]["tokens_per_s"] for name, bare in (("real_capacity", "runtime_512"), ("real_ragged", "runtime_ragged"))}
    mean = first["real_ragged"]["tokens_per_s"] / first["real_ragged"]["answered_per_s"]
    bare_mean = runs["runtime_ragged"]["tokens_per_s"] / runs["runtime_ragged"]["answered_per_s"]
    lines += [
        "",
        server_adds(first),
        f"- Tokens a second against `model/runtime` driven directly: {ratio['real_capacity']:.0%} at 512 tokens, {ratio['real_ragged']:.0%} with ragged lengths "
        f"(the same {first['real_ragged']['pool']} lengths; {mean:.0f} and {bare_mean:.0f} tokens in the mean){cut_of(runs['runtime_512'])}.",
    ]
    if "slow_overload" in first:
        lines.append(f"- A slow model asked for three times its capacity answers {first['slow_overload']['goodput_per_s'] / first['slow_capacity']['answered_per_s']:.0%} of it in time.")
    if "real_overload" in first:
        lines.append(f"- So does file-type {first['real_overload']['goodput_per_s'] / first['real_capacity']['answered_per_s']:.0%}; of what was let in {first['real_overload']['accepted_in_deadline']:.1%} was in time.")
        lines.append(refusal_times(first["real_overload"]))
    if "real_at_50%_long" in first:
        lines = ["![latency over load, with and without a long request](images/serving.svg)", "", *lines]
        slower = {q: first["real_at_50%_long"]["answered_ms"][q] / first["real_at_50%"]["answered_ms"][q] for q in ("p50", "p99")}
        lines.append(f"- A long request always in flight makes the p50 of short ones {times(slower['p50'])}, their p99 {times(slower['p99'])} what it is without.")
    lines += invariance_cost(first, "real", "real_capacity")
    if "null_streams" in first:
        memory = runs["null_streams"]["server_memory_bytes"]
        lines.append(f"- Over {memory['samples']} seconds of 1,000 streams the server's memory stays within {memory['max'] / memory['min'] - 1:.2%}; of every answer, none is wrong, lost or repeated.")
    lines += not_reached(SCENARIOS, runs)
    lines += ["", f"{data['machine']['processor']}, {data['machine']['cores']} cores that load and server share. {data.get('note', '')}".rstrip()]
    return "\n".join(lines)


def soak_text(data: dict) -> str:
    """What a long run at a constant load came to."""
    run = data["runs"]["soak"]
    row, memory = run["classes"][0], run["server_memory_bytes"]
    capacity = data["runs"]["soak_capacity"]["classes"][0]["answered_per_s"]
    mistakes = row["wrong"] + row["lost"] + row["duplicated"]
    return (
        f"{run['seconds'] / 60:.0f} minutes, {row['streams']:,} streams, {row['rate']:,.0f} requests a second, {row['rate'] / capacity:.0%} of the "
        f"{capacity:,.0f} that a model of 2 us a token answers: {row['sent']:,} requests of 512 tokens, each answer checked, {mistakes} wrong, lost or repeated, "
        f"{row['refused_ms']['count']} refused; p50 {duration(row['answered_ms']['p50'])}, p99 {duration(row['answered_ms']['p99'])}, p99.9 "
        f"{duration(row['answered_ms']['p99_9'])}. The server's memory, sampled each second, stays between {memory['min'] / 2**20:.1f} and "
        f"{memory['max'] / 2**20:.1f} MiB: within {memory['max'] / memory['min'] - 1:.1%}{memory_growth(memory)}.{of_commit(run)}"
    )


def memory_growth(memory: dict) -> str:
    """From the beginning to the end, where the medians were kept."""
    if "last_median" not in memory:
        return ""
    seconds, growth = memory["window_samples"], memory["last_median"] / memory["first_median"] - 1
    return f"; its median over the last {seconds} s is {growth:+.2%} of that over the first {seconds} s after the warm-up"


def of_commit(run: dict) -> str:
    return f" Commit {run['commit']}." if "commit" in run else ""


def duration(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{1e3 * ms:.0f} us" if ms < 1 else f"{milliseconds(ms)} ms"


GPU_SCENARIOS = {
    "echo_1": "bare gRPC echo, 1 caller",
    "echo_paced": "bare gRPC echo, 1,000 requests a second",
    "echo_16": "bare gRPC echo, 16 callers",
    "null_1": "model that computes nothing, 1 caller",
    "null_16": "model that computes nothing, 16 callers",
    "bert_1": "512 tokens, 1 caller",
    "bert_1_spin": "the same, the caller spins while it waits",
    "bert_64": "512 tokens, 64 callers",
    "bert_ragged": "64 to 4096 tokens, 32 callers",
    "bert_16k": "16,384 tokens, 4 callers",
    "bert_at_50%": "512 tokens, half of the rate of 64 callers",
    "bert_at_50%_long": "the same beside one caller of 1,048,576 tokens",
    "bert_overload": "512 tokens, 3x the rate of 64 callers, deadline 250 ms",
    "bert_invariant": "`--batch_invariant`: 512 tokens, 64 callers",
    "bert_invariant_ragged": "`--batch_invariant`: 64 to 4096 tokens, 32 callers",
}


def under_load(run: dict) -> float:
    """Mean tokens of a batch, but for those of the first requests, each of which was asked alone."""
    row, batches = run["classes"][0], run["batches"]
    alone = row["pool"]
    tokens = batches["mean_tokens"] * batches["count"] - alone * row["tokens_per_s"] / row["answered_per_s"]
    return tokens / (batches["count"] - alone)


def kept_of(repeats: list) -> str:
    """Which of the runs Bench.keep_medians() has kept, where it is not the median."""
    return "; the worse of two is shown" if len(repeats) == 2 else ""


def serving_gpu_table(data: dict) -> str:
    """The scenarios, then what follows from them."""
    runs = data["runs"]
    scenarios = {name: text for name, text in GPU_SCENARIOS.items() if name in runs}
    first = {name: runs[name]["classes"][0] for name in scenarios}
    ratio = {name: first[name]["tokens_per_s"] / runs[bare]["tokens_per_s"] for name, bare in (("bert_64", "runtime_512"), ("bert_ragged", "runtime_ragged"))}
    size = {name: under_load(runs[name]) for name in ratio}
    padded = sum(run["batches"]["padded_tokens"] for run in runs.values() if "batches" in run)
    lines = [
        *scenario_table(runs, scenarios),
        "",
        f"- Tokens a second against `model/runtime` driven directly: {ratio['bert_64']:.0%} at 512 tokens, {ratio['bert_ragged']:.0%} with ragged lengths. "
        f"Batches of {size['bert_64']:,.0f} and {size['bert_ragged']:,.0f} tokens in the mean; {padded:.0f} tokens of padding.",
        f"- Ragged requests had {first['bert_ragged']['tokens_per_s'] / first['bert_ragged']['answered_per_s']:.0f} tokens in the mean: "
        f"{first['bert_ragged']['tokens_per_s'] / 965:,.0f}/s of the distribution's 965.",
    ]
    if "null_1" in first and "echo_1" in first:
        lines.append(server_adds(first))
    if "echo_paced" in first and "p50_ms_of_runs" in runs.get("bert_1", {}):
        lines.append(
            f"- Of one caller's time the model takes {duration(first['bert_1']['server_compute_ms']['p50'])}; a bare echo at such a pace takes {duration(first['echo_paced']['answered_ms']['p50'])}, "
            f"more than one after the other does, since cores sleep in between (p50 of one caller's runs: {', '.join(duration(ms) for ms in runs['bert_1']['p50_ms_of_runs'])}; "
            f"of the empty model's with 16: {', '.join(duration(ms) for ms in runs['null_16']['p50_ms_of_runs'])}).")
    if "bert_at_50%_long" in first:
        slower = {q: first["bert_at_50%_long"]["answered_ms"][q] / first["bert_at_50%"]["answered_ms"][q] for q in ("p50", "p99")}
        lines = ["![latency over load, with and without a long request](images/serving_gpu.svg)", "", *lines]
        lines.append(
            f"- A request of a million tokens always in flight makes the p50 of short ones {times(slower['p50'])}, their p99 {times(slower['p99'])} what it is without "
            f"(p99 of the runs: {', '.join(f'{ms:.1f}' for ms in runs['bert_at_50%']['p99_ms_of_runs'])} ms, with it {', '.join(f'{ms:.1f}' for ms in runs['bert_at_50%_long']['p99_ms_of_runs'])} ms{kept_of(runs['bert_at_50%']['p99_ms_of_runs'])}).")
    if "bert_overload" in first:
        over = first["bert_overload"]
        lines.append(f"- At three times the capacity {over['goodput_per_s'] / first['bert_64']['answered_per_s']:.0%} of it is answered in time; of what was let in {over['accepted_in_deadline']:.1%}.")
        lines.append(refusal_times(over))
    lines += invariance_cost(first, "bert", "bert_64")
    lines += not_reached(GPU_SCENARIOS, runs)
    lines += ["", f"{data['machine']['gpu'].split(',')[0]}; {data['machine']['processor']}, {data['machine']['cores']} cores that load and server share. {data.get('note', '')}".rstrip()]
    return "\n".join(lines)


def load_curve(runs: dict, prefix: str, capacity: str, long: str, title: str, lowest_ms: float, path: pathlib.Path) -> None:
    """Latency of short requests over the load, with and without a long one beside them."""
    figure, axis = pyplot().subplots(figsize=(6, 4))
    for suffix, label, colour in (("", "alone", "C0"), ("_long", f"beside {long} tokens", "C1")):
        rows = [run["classes"][0] for name, run in runs.items() if name.startswith(f"{prefix}_at_") and name.endswith("_long") == bool(suffix)]
        rows.sort(key=lambda row: row["answered_per_s"])
        for quantile, style in (("p50", "-"), ("p99", "--")):
            axis.plot([row["answered_per_s"] for row in rows], [row["answered_ms"][quantile] for row in rows], style, marker="o", color=colour, label=f"{quantile}, {label}")
    axis.axvline(runs[capacity]["classes"][0]["answered_per_s"], color="grey", linewidth=1, label=f"{runs[capacity]['classes'][0]['concurrency']} callers that wait")
    axis.set(yscale="log", ylim=(lowest_ms, None), xlim=(0, None), xlabel="requests/s", ylabel="ms", title=title)
    axis.grid(True, alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def checkpoint_gaps_table(data: dict) -> str:
    """Longest gap of each algorithm, as a part of the fastest pass over 512 tokens that was measured of the model, and that of the first call."""
    passes: dict[str, float] = {}
    for row in data["gaps"]:
        passes[row["model"]] = min(row["pass_512_ms"], passes.get(row["model"], row["pass_512_ms"]))
    lines = ["| model | algorithm | tokens | longest gap | of a pass over 512 tokens | in the first call |", "|---|---|---|---|---|---|"]
    for row in data["gaps"]:
        cells = [f"{row['tokens']:,}", f"{row['longest_gap_ms']:.1f} ms", f"{row['longest_gap_ms'] / passes[row['model']]:.2f}", f"{row['first_call_ms']:.1f} ms"]
        lines.append(f"| {row['model']} | {row['algorithm']} | {' | '.join(cells)} |")
    largest = max(row["longest_gap_ms"] / passes[row["model"]] for row in data["gaps"])
    lines += ["", f"A pass over 512 tokens, the fastest measured: {', '.join(f'{name} {ms:.1f} ms' for name, ms in passes.items())}. Largest: {largest:.2f} of it."]
    return "\n".join(lines)


def replace_part(page: pathlib.Path, name: str, text: str) -> None:
    """Puts text between the page's markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = page.read_text().split(begin)
    _, tail = rest.split(end)
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in ("attention_cpu", "attention_grid", "attention_gpu", "encoder_gpu", "planner_grid", "planner_grid_gpu", "serving", "serving_gpu", "serving_soak", "checkpoint_gaps"):
        print(__doc__, file=sys.stderr)
        return 2
    name = sys.argv[1]
    data = json.loads((ROOT / "bench/results" / f"{name}.json").read_text())
    if name == "attention_grid":
        replace_part(PAGE, name, squares_table(data))
        return 0
    if name == "encoder_gpu":
        replace_part(PAGE, name, encoder_table(data))
        return 0
    if name in ("planner_grid", "planner_grid_gpu"):
        replace_part(PAGE, name, grid_table(data))
        return 0
    if name == "serving":
        load_curve(data["runs"], "real", "real_capacity", "65,536", "512-token requests, file-type, two cores", 10, ROOT / "docs/images" / f"{name}.svg")
        replace_part(PAGE, name, serving_table(data))
        return 0
    if name == "checkpoint_gaps":
        replace_part(PAGE, name, checkpoint_gaps_table(data))
        return 0
    if name == "serving_soak":
        replace_part(PAGE, name, soak_text(data))
        return 0
    if name == "serving_gpu":
        if "bert_at_50%_long" in data["runs"]:
            load_curve(data["runs"], "bert", "bert_64", "1,048,576", "512-token requests, BERT-base shape, one H100", 0.5, ROOT / "docs/images" / f"{name}.svg")
        replace_part(PAGE, name, serving_gpu_table(data))
        return 0
    if name == "attention_gpu":
        single = {**data, "rows": [row for row in data["rows"] if row["batch"] == 1 and row.get("features", 64) == 64]}
        attention_plot(single, ROOT / "docs/images" / f"{name}.svg")
        replace_part(PAGE, name, gpu_table(data))
        return 0
    attention_plot(data, ROOT / "docs/images" / f"{name}.svg")
    replace_part(PAGE, name, attention_table(data))
    accuracy = json.loads((ROOT / "model/pretrained/file-type/1/results.json").read_text())
    replace_part(ROOT / "README.md", "claims", claims(data, accuracy))
    return 0


if __name__ == "__main__":
    sys.exit(main())
