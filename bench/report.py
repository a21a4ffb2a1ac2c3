#!/usr/bin/env python3
"""Makes the tables and plots of the documentation from what was measured.

  bench/report.py attention_cpu    rewrites the part of docs/benchmarks.md between its markers, docs/images/attention_cpu.svg, and the
                                   claims in README.md (accuracy from model/pretrained/file-type/1/results.json)
  bench/report.py attention_grid   rewrites its part of docs/benchmarks.md
  bench/report.py attention_gpu    rewrites its part of docs/benchmarks.md and docs/images/attention_gpu.svg
  bench/report.py encoder_gpu      rewrites its part of docs/benchmarks.md
  bench/report.py gpu_targets      rewrites its part of docs/benchmarks.md, from what attention, encoder and server have on a GPU
  bench/report.py cpu_targets      rewrites its part of docs/benchmarks.md, from what attention and the planner's picks have on the CPU
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

import report_targets
from report_targets_cpu import cpu_targets_table
from report_serving import checkpoint_gaps_table, load_curve, serving_gpu_table, serving_table, soak_text
from report_text import milliseconds, pyplot, times

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
OURS = ("auto", "structured", "low_rank", "direct", "fft")
# Tables of README's claims about one attention layer, as it heads their columns.
CLAIMED = {"clipped": "clipped table (as trained)", "alibi": "ALiBi", "inverse": "smooth 1/(1+t)", "noise": "no structure"}


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
            cells.append(f"{milliseconds(ours['median_ms'])} ({peers[n] / ours['median_ms']:.3g}x)" if ours else "-")
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
        "softmax_cudnn_graph": "as a graph",
        "softmax_flash": "softmax, flash",
        "softmax_flash_graph": "as a graph",
        "products_only": "products alone",
        "products_only_graph": "as a graph",
    }
    lines = ["| batch | " + " | ".join(names.values()) + " | softmax / Longwave | beside the weights |"]
    lines.append("|---|" + "---|" * (len(names) + 2))
    for row in data["rows"]:
        time = {name: row.get(name, {}).get("median_ms") for name in names}
        cells = [milliseconds(time[name]) if time[name] else "-" for name in names]
        ours = min(value for name, value in time.items() if value and name.startswith("longwave"))
        peers = [value for name, value in time.items() if value and name.startswith("softmax")]
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
        commits = dict.fromkeys(row.get("commit", data["commit"]) for row in data["rows"])
        where += f"{machine['power.limit']}, commit {', '.join(commits)}"
    lines += [
        "",
        f"{where}. Against the CPU in float32: root mean square of the error {check['rms_error']:.1e} "
        f"of that of the values, largest {check['max_error']:.1e} of the largest value.",
    ]
    return "\n".join(lines)


def grid_table(data: dict) -> str:
    """Tables of bias down, lengths and batches across: the pick and how many times the fastest algorithm's time it takes."""
    label = lambda row: row["table"] + ("" if row.get("normalize", True) else ", not normalised")
    rows = {(label(row), (row.get("batch", 1), row["n"])): row for row in data["rows"]}
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


def replace_part(page: pathlib.Path, name: str, text: str) -> None:
    """Puts text between the page's markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = page.read_text().split(begin)
    _, tail = rest.split(end)
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in ("attention_cpu", "attention_grid", "attention_gpu", "encoder_gpu", "gpu_targets", "cpu_targets", "planner_grid", "planner_grid_gpu", "serving", "serving_gpu", "serving_soak", "checkpoint_gaps"):
        print(__doc__, file=sys.stderr)
        return 2
    name = sys.argv[1]
    if name == "gpu_targets":
        results = (json.loads((ROOT / "bench/results" / f"{part}.json").read_text()) for part in ("attention_gpu", "encoder_gpu", "serving_gpu_answers"))
        replace_part(PAGE, name, report_targets.targets_table(*results))
        return 0
    if name == "cpu_targets":
        attention, grid = (json.loads((ROOT / "bench/results" / f"{part}.json").read_text()) for part in ("attention_cpu", "planner_grid"))
        replace_part(PAGE, name, cpu_targets_table(attention, softmax_times(attention), grid))
        return 0
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
