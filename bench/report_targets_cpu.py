"""What was aimed at on a processor of two cores, and what bench/results has of it."""

from report_targets import each, reached
from report_text import times

# Length -> of the clipped table times faster than softmax; of noise, softmax's times at most, and times faster than the textbook's.
AIMS = {512: (1, 1.5, 40), 4096: (6, 1.5, 12), 16384: (25, 1.1, 4), 65536: (100, 1 / 3, 5)}


def cpu_targets_table(attention: dict, softmax: dict[int, float], grid: dict) -> str:
    """attention, grid: attention_cpu's and planner_grid's results; softmax: length -> ms."""
    by_name = {(row["table"], row["contender"], row["n"]): row["median_ms"] for row in attention["rows"] if "median_ms" in row}
    time = lambda table, contender, n: by_name[table, contender, n]
    rows = []

    def add(what, target, values, met, show=times, by="attention_cpu.py"):
        rows.append([what, target, each(values, show), reached(met), f"`{by}`"])

    for n, (clipped, noise, textbook) in AIMS.items():
        ratio = softmax[n] / time("clipped", "auto", n)
        add(f"clipped table, {n:,} tokens", f"{clipped}x softmax" if clipped > 1 else "not slower than softmax", {"": ratio}, ratio >= clipped,
            lambda ratio: f"{ratio:.3g}x")  # fmt: skip
        ratio = time("noise", "auto", n) / softmax[n]
        if noise >= 1:
            add(f"noise, {n:,} tokens", f"{noise}x softmax's time or less", {"": ratio}, ratio <= noise)
        else:
            add(f"noise, {n:,} tokens", f"{1 / noise:.0f}x softmax", {"": 1 / ratio}, ratio <= noise)
        ratio = time("noise", "textbook", n) / time("noise", "auto", n)
        add(f"noise beside the textbook's, {n:,} tokens", f"{textbook}x faster", {"": ratio}, ratio >= textbook)
    ratio = time("clipped", "auto", 65536) / time("clipped", "auto", 16384)
    add("clipped table, 65,536 tokens beside 16,384", "4.4x the time or less", {"": ratio}, ratio <= 4.4)
    ratios = {table: time(table, "direct", 16384) / time(table, "auto", 16384) for table in ("inverse", "logarithmic")}
    add("smooth tables, 16,384 tokens", "5x `direct`", ratios, min(ratios.values()) >= 5)
    ratios = {f"{n:,}": time("alibi", "auto", n) / time("clipped", "auto", n) for n in AIMS}
    add("ALiBi beside the clipped table", "1.5x its time or less", ratios, max(ratios.values()) <= 1.5)
    worst = max(grid["rows"], key=lambda row: row["ratio"])
    cells = len(grid["rows"])
    add(f"the planner's picks, {cells} tables and lengths", "1.25x of the fastest or less", {f"{worst['table']}, {worst['n']:,}": worst["ratio"]},
        worst["ratio"] <= 1.25, by="planner_grid.py")  # fmt: skip
    missed = sum("missed" in row[3] for row in rows)
    lines = ["| what | target | reached | | measured by |", "|---|---|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join([*lines, "", f"{len(rows) - missed} of {len(rows)} are met; softmax is the fastest that was timed in the run."])
