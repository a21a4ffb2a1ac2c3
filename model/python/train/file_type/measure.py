"""What every classifier is shown, and how its answers are counted. Needs neither PyTorch nor
scikit-learn.
"""

import collections

import dataset

# How much of a file is shown to a classifier. All files at every length: a shorter file is shown
# whole.
LENGTHS = (64, 512, 2048, 8192)
INSIDE = 512  # bytes from a file's middle
LONG = 65536  # bytes of a document joined from several files


def views(samples: list[dataset.Sample]) -> dict[str, list[tuple[dataset.Sample, bytes]]]:
    """What every classifier is measured on, by name."""
    test = dataset.of_split(samples, "test")
    shown = {f"first {n}": [(s, s.data[:n]) for s in test] for n in LENGTHS}
    shown[f"middle {INSIDE}"] = [(s, dataset.inside(s, INSIDE)) for s in test]
    shown[f"joined {LONG}"] = [(s, s.data) for s in dataset.long_documents(test, LONG)]
    return shown


def accuracy(expected: list[str], predicted: list[str]) -> dict:
    """Accuracy over documents; its mean over classes; per class; and the commonest confusions."""
    right, total = collections.Counter(), collections.Counter(expected)
    for truth, guess in zip(expected, predicted, strict=True):
        right[truth] += truth == guess
    per_class = {label: right[label] / total[label] for label in sorted(total)}
    wrong = collections.Counter((t, p) for t, p in zip(expected, predicted, strict=True) if t != p)
    return {
        "documents": len(expected),
        "accuracy": sum(right.values()) / len(expected),
        "class_mean": sum(per_class.values()) / len(per_class),
        "per_class": per_class,
        "confusions": [
            {"truth": t, "predicted": p, "count": c} for (t, p), c in wrong.most_common(20)
        ],
    }
