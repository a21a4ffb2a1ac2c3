"""Measures an exported file-type model on the test files, and writes results as JSON.

evaluate.py --samples .cache/filetype/samples.zip --model model/pretrained/file-type/1 --out
results.json
"""

import argparse
import json
import pathlib

import numpy as np
import torch

import dataset
import labels
import measure
from longwave_torch.encoder import LongwaveModel
from longwave_torch.load import load_model


@torch.inference_mode()
def run(
    model: LongwaveModel, documents: list[bytes], tokens: int = 1 << 17
) -> tuple[np.ndarray, np.ndarray]:
    """Label index [documents] and normalised embedding [documents, E], in float32."""
    device = next(model.parameters()).device
    sequences = [model.config.tokenizer.ids_of_bytes(document) for document in documents]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    guesses, vectors = (
        np.empty(len(sequences), int),
        np.empty((len(sequences), model.config.hidden_size), np.float32),
    )
    while order:
        width = len(sequences[order[-1]])
        batch = [order.pop() for _ in range(min(len(order), max(1, tokens // width)))]
        lengths = torch.tensor([len(sequences[i]) for i in batch], device=device)
        ids = torch.tensor(
            [sequences[i] + [0] * (width - len(sequences[i])) for i in batch], device=device
        )
        mask = torch.arange(width, device=device) < lengths[:, None]
        pooled = model.encode(ids, mask, "mean")
        guesses[batch] = model.heads["file_type"](pooled).argmax(dim=1).cpu().numpy()
        vectors[batch] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
    return guesses, vectors


def nearest_neighbour(samples: list[dataset.Sample], vectors: np.ndarray) -> dict[str, float]:
    """How often the nearest other file, by cosine, is of the same class: among all files, and among
    other packages' files.
    """
    label = np.array([s.label for s in samples])
    source = np.array([s.source for s in samples])
    cosine = vectors @ vectors.T
    np.fill_diagonal(cosine, -2)
    among_all = label[cosine.argmax(axis=1)] == label
    cosine[source[:, None] == source] = -2
    among_others = label[cosine.argmax(axis=1)] == label
    return {"any_package": float(among_all.mean()), "other_packages": float(among_others.mean())}


def evaluate(model: LongwaveModel, samples: list[dataset.Sample]) -> dict:
    results = {}
    for name, shown in measure.views(samples).items():
        guesses, vectors = run(model, [data for _, data in shown])
        results[name] = measure.accuracy(
            [s.label for s, _ in shown], [labels.LABELS[i] for i in guesses]
        )
        if not name.startswith("joined"):
            results[name]["nearest_neighbour"] = nearest_neighbour([s for s, _ in shown], vectors)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    samples, _ = dataset.read(options.samples)
    model = load_model(options.model).to("cuda" if torch.cuda.is_available() else "cpu")
    results = evaluate(model, samples)
    options.out.write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for name, found in results.items():
        print(f"{name:14} accuracy {found['accuracy']:.4f} class mean {found['class_mean']:.4f}")


if __name__ == "__main__":
    main()
