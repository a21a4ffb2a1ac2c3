#!/usr/bin/env python3
"""Makes the tables and plots of docs/benchmarks.md from bench/results/*.json.

  bench/report.py attention_cpu    rewrites the part of docs/benchmarks.md between its markers, and docs/images/attention_cpu.svg

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
    return f"{text} ({row['median_ms'] / base:.2g}x)" if base else text


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


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] != "attention_cpu":
        print(__doc__, file=sys.stderr)
        return 2
    name = sys.argv[1]
    data = json.loads((ROOT / "bench/results" / f"{name}.json").read_text())
    attention_plot(data, ROOT / "docs/images" / f"{name}.svg")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = PAGE.read_text()
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    PAGE.write_text(f"{head}{begin}\n{attention_table(data)}\n{end}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
