#!/usr/bin/env python3
"""Shows which of a server's Prometheus metrics moved between two scrapes. Standard library only.

demo_metrics.py save URL FILE       scrapes and keeps
demo_metrics.py changes FILE URL    scrapes again and prints counters that grew and histograms that took samples
"""

import math
import re
import sys
import urllib.request

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SUFFIX = re.compile(r"_(bucket|sum|count)$")

Labels = tuple[tuple[str, str], ...]


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read().decode("utf-8")


def parse(text: str) -> tuple[dict[str, str], dict[tuple[str, Labels], float]]:
    """The type of each of Longwave's metrics, and the value of each sample by name and labels."""
    types, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            types[name] = kind
        elif line.startswith("longwave_") and (match := _SAMPLE.match(line)):
            labels = tuple(sorted(_LABEL.findall(match[2] or "")))
            samples[match[1], labels] = float(match[3])
    return types, samples


def series(name: str, labels: Labels) -> str:
    inside = ",".join(f'{key}="{value}"' for key, value in labels)
    return f"{name}{{{inside}}}" if inside else name


def quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    """As Prometheus's histogram_quantile: linear inside a bucket; buckets are (upper bound, cumulative count), ascending."""
    rank = q * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def human_count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def human_seconds(value: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def counter_rows(types, before, after) -> list[list[str]]:
    rows = []
    for (name, labels), value in sorted(after.items()):
        old = before.get((name, labels), 0.0)
        if types.get(name) == "counter" and value != old:
            rows.append([series(name, labels), f"{old:,.0f}", f"{value:,.0f}"])
    return rows


def histogram_rows(types, before, after) -> list[list[str]]:
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    rows = []
    for (name, labels), count in sorted(grown.items()):
        base = _SUFFIX.sub("", name)
        if not name.endswith("_count") or types.get(base) != "histogram" or count == 0:
            continue
        buckets = sorted(
            (float(dict(bucket_labels)["le"]), value)
            for (bucket_name, bucket_labels), value in grown.items()
            if bucket_name == base + "_bucket"
            and tuple(label for label in bucket_labels if label[0] != "le") == labels
        )
        mean = grown[base + "_sum", labels] / count
        if base.endswith("_seconds"):
            values = [
                human_seconds(v) for v in (mean, *(quantile(q, buckets) for q in (0.5, 0.95)))
            ]
        else:
            # Whole numbers: nothing lies between the bounds of the small buckets.
            limits = [next(b for b, below in buckets if below >= q * count) for q in (0.5, 0.95)]
            values = [human_count(mean), *(f"<= {human_count(limit)}" for limit in limits)]
        rows.append([series(base, labels), f"{count:,.0f}", *values])
    return rows


def print_table(titles: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [titles, *rows]) for column in range(len(titles))]
    for row in [titles, *rows]:
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        print("  ".join([row[0].ljust(widths[0]), *numbers]))


def main(arguments: list[str]) -> int:
    if len(arguments) != 3 or arguments[0] not in ("save", "changes"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    command, first, second = arguments
    if command == "save":
        with open(second, "w", encoding="utf-8") as file:
            file.write(scrape(first))
        return 0
    with open(first, encoding="utf-8") as file:
        _, before = parse(file.read())
    types, after = parse(scrape(second))
    print_table(["COUNTER", "BEFORE", "AFTER"], counter_rows(types, before, after))
    print()
    print_table(
        ["HISTOGRAM", "SAMPLES", "MEAN", "P50", "P95"], histogram_rows(types, before, after)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
