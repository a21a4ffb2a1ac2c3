"""Writes results.json and MODEL_CARD.md of the model folder from what evaluate.py and baseline.py
measured.

    card.py --cache .cache/filetype --out model/pretrained/file-type/1

CACHE/repeat.json, when there, is evaluate.py's file of a second training run with the same command.
"""

import argparse
import collections
import json
import pathlib

import dataset
import labels
import measure

HERE = pathlib.Path(__file__).parent


def collect_results(cache: pathlib.Path) -> dict:
    """All that was measured, and what it was measured on, as one object."""
    samples, origins = dataset.read(cache / "samples.zip")
    counts: dict = {}
    for label in labels.LABELS:
        counts[label] = {}
        for split in ("train", "validation", "test"):
            found = [s for s in samples if s.label == label and s.split == split]
            counts[label][split] = {
                "files": len(found),
                "source_packages": len({s.source for s in found}),
            }
    results = {
        "data": {
            "files": len(samples),
            "packages": dict(collections.Counter(o.split for o in origins)),
            "source_packages": {
                split: len({o.source for o in origins if o.split == split})
                for split in ("train", "validation", "test")
            },
            "versions": {o.package: o.version for o in origins},
            "per_class": counts,
        }
    }
    for name in ("model", "repeat", "ngrams", "magika"):
        path = cache / f"{name}.json"
        if path.exists():
            results[name] = json.loads(path.read_text(encoding="utf-8"))
    return results


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def by_length(results: dict) -> str:
    rows = []
    for view, found in results["model"].items():
        row = [view + " bytes", found["documents"]]
        row += [percent(found["accuracy"]), percent(found["class_mean"])]
        for other in ("repeat", "ngrams"):
            row.append(percent(results.get(other, {}).get(view, {}).get("accuracy")))
        rows.append(row)
    header = ["shown", "documents", "accuracy", "class mean", "second run", "n-grams"]
    return table(header, rows)


def per_class(results: dict) -> str:
    rows = []
    for label in labels.LABELS:
        counts = results["data"]["per_class"][label]
        row = [label, *(counts[split]["files"] for split in ("train", "test"))]
        row.append(counts["test"]["source_packages"])
        row += [percent(found["per_class"].get(label)) for found in results["model"].values()]
        row.append(
            percent(results.get("ngrams", {}).get("first 2048", {}).get("per_class", {}).get(label))
        )
        row.append(
            percent(results.get("magika", {}).get("first 2048", {}).get("per_class", {}).get(label))
        )
        rows.append(row)
    header = [
        "class",
        "train",
        "test",
        "packages",
        *results["model"],
        "n-grams 2048",
        "Magika 2048",
    ]
    return table(header, rows)


def magika(results: dict) -> str:
    """Accuracy over the files of the classes that both have."""
    rows = []
    for view, theirs in results["magika"].items():
        if view == "model":
            continue
        shared = results["data"]["per_class"].keys() & theirs["per_class"].keys()
        means = []
        for found in (results["model"][view], results["ngrams"][view], theirs):
            means.append(percent(sum(found["per_class"][label] for label in shared) / len(shared)))
        rows.append([view + " bytes", len(shared), *means])
    return table(["shown", "classes", "this model", "n-grams", "Magika"], rows)


def neighbours(results: dict) -> str:
    rows = [
        [view + " bytes", percent(found["nearest_neighbour"]["any_package"]),
         percent(found["nearest_neighbour"]["other_packages"])]
        for view, found in results["model"].items()
        if "nearest_neighbour" in found
    ]  # fmt: skip
    return table(["shown", "any file", "files of other packages"], rows)


def confusions(results: dict) -> str:
    return "; ".join(
        f"{c['truth']} taken for {c['predicted']} ({c['count']})"
        for c in results["model"]["first 2048"]["confusions"][:12]
    )


def wins_and_losses(results: dict) -> str:
    sentences = []
    for name, what in (("ngrams", "the n-grams"), ("magika", "Magika")):
        ours = results["model"]["first 2048"]["per_class"]
        theirs = results[name]["first 2048"]["per_class"]
        gap = {label: ours[label] - theirs[label] for label in theirs}
        better = sorted((x for x in gap if gap[x] > 0.005), key=gap.get, reverse=True)
        worse = sorted((x for x in gap if gap[x] < -0.005), key=gap.get)
        listed = ", ".join(f"{x} ({100 * gap[x]:+.1f})" for x in worse) or "none"
        sentences.append(
            f"At 2,048 bytes this model is ahead of {what} by more than half a point in "
            f"{len(better)} of {len(gap)} classes and behind in {len(worse)}: {listed}."
        )
    return " ".join(sentences)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    results = collect_results(options.cache)
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (options.out / "results.json").write_text(text, encoding="utf-8")

    data = results["data"]
    values = {
        "classes": len(labels.LABELS),
        "files": f"{data['files']:,}",
        "packages": f"{sum(data['packages'].values()):,}",
        "train_packages": data["packages"]["train"],
        "validation_packages": data["packages"]["validation"],
        "test_packages": data["packages"]["test"],
        "by_length": by_length(results),
        "per_class": per_class(results),
        "magika": magika(results),
        "magika_model": results["magika"]["model"],
        "neighbours": neighbours(results),
        "confusions": confusions(results),
        "wins_and_losses": wins_and_losses(results),
        "inside": measure.INSIDE,
    }
    card = (HERE / "card.md").read_text(encoding="utf-8")
    for name, value in values.items():
        card = card.replace("{{" + name + "}}", str(value))
    (options.out / "MODEL_CARD.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
