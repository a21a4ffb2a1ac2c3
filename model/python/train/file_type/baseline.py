"""What one would try first, on the same files and lengths: byte n-grams with logistic regression,
and Magika.

    baseline.py ngrams --samples SAMPLES --out ngrams.json     needs scikit-learn
    baseline.py magika --samples SAMPLES --out magika.json     needs magika (PyPI)

The n-grams: all byte 1-, 2- and 3-grams hashed into 2^18 features, square roots of counts,
L2-normalised; one logistic regression per class by SGD, on the first 512, 2,048 and 8,192 bytes and
on 512 bytes of the middle of every training file.

Magika is a trained classifier of more than 200 content types, which are not ours. Its answer is
mapped to our classes; a class that it does not have is left out, as are files of it. It was not
trained on our files, nor with our idea of the classes.
"""

import argparse
import json
import multiprocessing
import pathlib

import dataset
import measure
import numpy as np

# Magika's name of a content type -> our class. All man pages are one type to it.
MAGIKA = {
    "c": "C", "cpp": "C++", "cmake": "CMake", "css": "CSS", "csv": "CSV", "tsv": "CSV", "txt":
    "English text", "elf": "ELF binary", "go": "Go", "html": "HTML", "java": "Java",
    "javascript": "JavaScript", "json": "JSON", "latex": "LaTeX", "lua": "Lua", "makefile":
    "Makefile", "markdown": "Markdown", "php": "PHP", "png": "PNG image", "perl": "Perl",
    "python": "Python", "ruby": "Ruby", "gemspec": "Ruby", "rust": "Rust", "sql": "SQL", "svg":
    "SVG", "xml": "XML", "yaml": "YAML", "diff": "diff", "po": "gettext catalogue", "gzip":
    "gzip data", "rst": "reStructuredText", "shell": "shell",
}  # fmt: skip


def ngram_features(documents: list[bytes]):
    """Sparse [documents, 2^18], rows of L2 norm 1."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.preprocessing import normalize

    vectorizer = HashingVectorizer(
        analyzer="char",
        ngram_range=(1, 3),
        n_features=1 << 18,
        lowercase=False,
        alternate_sign=False,
        norm=None,
        dtype=np.float32,
    )
    return normalize(vectorizer.transform(d.decode("latin-1") for d in documents).sqrt())


def ngrams(samples: list[dataset.Sample], jobs: int) -> dict:
    from scipy.sparse import vstack
    from sklearn.linear_model import SGDClassifier

    train = dataset.of_split(samples, "train")
    documents = [s.data[:n] for n in (512, 2048, 8192) for s in train]
    documents += [dataset.inside(s, 512) for s in train]
    model = SGDClassifier(
        loss="log_loss", alpha=1e-6, max_iter=20, average=True, n_jobs=jobs, random_state=1
    )
    results = {}
    with multiprocessing.Pool(jobs) as pool:

        def features(documents: list[bytes]):
            parts = [documents[i : i + 500] for i in range(0, len(documents), 500)]
            return vstack(pool.map(ngram_features, parts, chunksize=1), format="csr")

        model.fit(features(documents), [s.label for s in train] * 4)
        for name, shown in measure.views(samples).items():
            guesses = model.predict(features([data for _, data in shown]))
            results[name] = measure.accuracy([s.label for s, _ in shown], guesses.tolist())
    return results


def magika(samples: list[dataset.Sample], jobs: int) -> dict:
    from magika import Magika

    del jobs  # its runtime has its own threads
    model = Magika()
    ours = set(MAGIKA.values())
    results = {"model": model.get_model_name()}
    for name, shown in measure.views(samples).items():
        shown = [(s, data) for s, data in shown if s.label in ours]
        guesses = [model.identify_bytes(data).output.label for _, data in shown]
        guesses = [MAGIKA.get(guess, f"other: {guess}") for guess in guesses]
        results[name] = measure.accuracy([s.label for s, _ in shown], guesses)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", choices=["ngrams", "magika"])
    parser.add_argument("--samples", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args()
    samples, _ = dataset.read(options.samples)
    results = {"ngrams": ngrams, "magika": magika}[options.which](samples, options.jobs)
    options.out.write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for name, found in results.items():
        if isinstance(found, dict):
            print(f"{name:14} {found['documents']:6} accuracy {found['accuracy']:.4f}")


if __name__ == "__main__":
    main()
