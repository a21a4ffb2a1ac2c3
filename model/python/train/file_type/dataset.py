"""samples.zip: excerpts of labelled files and where they come from, in one compressed file."""

import json
import pathlib
import zipfile
from typing import NamedTuple


class Sample(NamedTuple):
    split: str
    label: str
    source: str  # Debian source package
    path: str
    data: bytes


class Origin(NamedTuple):
    package: str
    version: str
    source: str
    split: str


def write(target: pathlib.Path, samples: list[Sample], origins: list[Origin]) -> None:
    index = {
        "origins": [origin._asdict() for origin in origins],
        "samples": [{**sample._asdict(), "data": len(sample.data)} for sample in samples],
    }
    partial = target.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("index.json", json.dumps(index))
        archive.writestr("data.bin", b"".join(sample.data for sample in samples))
    partial.rename(target)


def read(path: pathlib.Path) -> tuple[list[Sample], list[Origin]]:
    with zipfile.ZipFile(path) as archive:
        index = json.loads(archive.read("index.json"))
        data = archive.read("data.bin")
    samples, begin = [], 0
    for row in index["samples"]:
        end = begin + row["data"]
        samples.append(Sample(**{**row, "data": data[begin:end]}))
        begin = end
    return samples, [Origin(**row) for row in index["origins"]]


def of_split(samples: list[Sample], split: str) -> list[Sample]:
    return [sample for sample in samples if sample.split == split]


def inside(sample: Sample, size: int) -> bytes:
    """`size` bytes from the middle of the file."""
    begin = max(0, (len(sample.data) - size) // 2)
    return sample.data[begin : begin + size]


def long_documents(samples: list[Sample], size: int) -> list[Sample]:
    """Documents of exactly `size` bytes: files of one class, those of one package side by side,
    joined and cut.
    """
    documents = []
    for label in sorted({sample.label for sample in samples}):
        of_label = sorted(
            (s for s in samples if s.label == label), key=lambda s: (s.source, s.path)
        )
        joined = b"".join(sample.data for sample in of_label)
        documents += [
            Sample("test", label, "", f"{label} {i}", joined[i : i + size])
            for i in range(0, len(joined) - size + 1, size)
        ]
    return documents
