#!/usr/bin/env python3
"""Makes the tables and plots of the documentation from what was measured.

  bench/report.py attention_cpu    rewrites the part of docs/benchmarks.md between its markers, docs/images/attention_cpu.svg, and the
                                   claims in README.md (accuracy from model/pretrained/file-type/1/results.json)
  bench/report.py encoder_gpu      rewrites its part of docs/benchmarks.md

Needs matplotlib (pip install matplotlib).
"""

import json
import pathlib
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"


def milliseconds(value: float) -> str:
    """Three significant digits, as people read times."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def times(ratio: float) -> str:
    """A ratio as people read it: two digits, no exponent."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2g}x"


def attention_table(data: dict) -> str:
    """A Markdown table per bias table: lengths down, contenders across, median ms and the ratio to softmax."""
    lines = []
    for table in sorted({row["table"] for row in data["rows"]}):
        rows = [row for row in data["rows"] if row["table"] == table]
        names = list(dict.fromkeys(row["contender"] for row in rows))
        lines += [f"**{table} table**, median ms (times softmax's; below 1 is faster)", ""]
        lines += ["| n | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
        for n in sorted({row["n"] for row in rows}):
            by_name = {row["contender"]: row for row in rows if row["n"] == n}
            base = by_name.get("softmax", {}).get("median_ms")
            cells = [cell(by_name.get(name), base if name != "softmax" else None) for name in names]
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
    text = milliseconds(row["median_ms"])
    if "algorithms" in row:
        text += " " + "+".join(row["algorithms"])
    return f"{text} ({times(row['median_ms'] / base)})" if base else text


def attention_plot(data: dict, path: pathlib.Path) -> None:
    """Time over n, log-log, one panel per bias table."""
    names = sorted({row["table"] for row in data["rows"]})
    figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names), 4), sharey=True, squeeze=False)
    for axis, table in zip(axes[0], names):
        rows = [row for row in data["rows"] if row["table"] == table and "median_ms" in row]
        for name in dict.fromkeys(row["contender"] for row in rows):
            points = sorted((row["n"], row["median_ms"]) for row in rows if row["contender"] == name)
            axis.plot(*zip(*points), marker="o", label=name, linestyle="--" if name in ("softmax", "textbook") else "-")
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
    lengths = sorted({n for _, n, name in rows if name == "auto"})
    lines = [
        f"One attention layer on {data['machine']['threads']} CPU cores, {data['shape']['heads']} heads of {data['shape']['head_dim']}: "
        "median ms, and how many times faster than PyTorch's softmax attention (below 1: slower).",
        "",
        "| tokens | softmax | clipped table (as trained) | ALiBi | smooth 1/(1+t) | no structure |",
        "|---|---|---|---|---|---|",
    ]
    for n in lengths:
        cells = [milliseconds(rows["clipped", n, "softmax"]["median_ms"])]
        for table in ("clipped", "alibi", "inverse", "noise"):
            ours, peer = rows.get((table, n, "auto")), rows.get((table, n, "softmax"))
            if ours is None or peer is None:
                cells.append("-")
                continue
            cells.append(f"{milliseconds(ours['median_ms'])} ({times(peer['median_ms'] / ours['median_ms'])})")
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


def replace_part(page: pathlib.Path, name: str, text: str) -> None:
    """Puts text between the page's markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = page.read_text().split(begin)
    _, tail = rest.split(end)
    page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in ("attention_cpu", "encoder_gpu"):
        print(__doc__, file=sys.stderr)
        return 2
    name = sys.argv[1]
    data = json.loads((ROOT / "bench/results" / f"{name}.json").read_text())
    if name == "encoder_gpu":
        replace_part(PAGE, name, encoder_table(data))
        return 0
    attention_plot(data, ROOT / "docs/images" / f"{name}.svg")
    replace_part(PAGE, name, attention_table(data))
    accuracy = json.loads((ROOT / "model/pretrained/file-type/1/results.json").read_text())
    replace_part(ROOT / "README.md", "claims", claims(data, accuracy))
    return 0


if __name__ == "__main__":
    sys.exit(main())
