"""Builds the data set: downloads packages.txt, labels the packages' files, splits by source
package, removes duplicates.

    collect.py --cache .cache/filetype [--jobs 2]

Needs Debian 12 with its `main` archive in apt's sources; installs nothing. Writes CACHE/samples.zip
(see dataset.py).
"""

import argparse
import collections
import functools
import hashlib
import multiprocessing
import pathlib
import subprocess
from collections.abc import Iterable, Iterator

import dataset
import labels
import scan

HERE = pathlib.Path(__file__).parent
SPLITS = ("train", "validation", "test")

# Per class: files, bytes in all, bytes of one file.
_QUOTAS = {
    "train": (1200, 5_000_000, 16384),
    "validation": (60, 250_000, 8192),
    "test": (220, 1_300_000, 32768),
}
_QUOTAS_BINARY = {
    "train": (1000, 1_500_000, 4096),
    "validation": (60, 120_000, 4096),
    "test": (150, 1_200_000, 8192),
}


def read_packages() -> dict[str, str]:
    """packages.txt: lines "split package"."""
    lines = (HERE / "packages.txt").read_text().splitlines()
    pairs = [line.split() for line in lines if line and not line.startswith("#")]
    return {package: split for split, package in pairs}


def download(packages: Iterable[str], folder: pathlib.Path) -> list[pathlib.Path]:
    """The .deb of every package, fetched by apt where it is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {path.name.split("_")[0]: path for path in sorted(folder.glob("*.deb"))}
    missing = sorted(set(packages) - set(found))
    for i in range(0, len(missing), 50):
        print(f"downloading {i} of {len(missing)} packages", flush=True)
        subprocess.run(["apt-get", "download", "-qq", *missing[i : i + 50]], cwd=folder, check=True)
    found = {path.name.split("_")[0]: path for path in sorted(folder.glob("*.deb"))}
    return [found[package] for package in sorted(packages)]


def check_split(packages: Iterable[scan.Package], split_of: dict[str, str]) -> None:
    """One source package may not feed two splits, whatever its binary packages are called."""
    splits = collections.defaultdict(set)
    for package in packages:
        splits[package.source].add(split_of[package.name])
    for source, found in splits.items():
        if len(found) > 1:
            raise SystemExit(f"packages.txt: packages of source {source} are in {sorted(found)}")


class Duplicates:
    """Remembers files, and tells a file that was seen before, the same or nearly so.

    Licences and generated files come by the hundred. The share of common hashes, of the 64 smallest
    of both files' 5-token shingles, estimates the Jaccard similarity of the texts. Across splits
    half is too much; within a split 80 percent.
    """

    def __init__(self):
        self._digests: set[bytes] = set()
        self._splits: list[str] = []
        self._sketches: dict[int, list[int]] = collections.defaultdict(list)

    def is_new(self, file: scan.File, split: str) -> bool:
        if file.digest in self._digests:
            return False
        common = collections.Counter(i for h in file.sketch for i in self._sketches.get(h, ()))
        for i, count in common.items():
            if count >= len(file.sketch) * (0.8 if self._splits[i] == split else 0.5):
                return False
        self._digests.add(file.digest)
        for h in file.sketch:
            self._sketches[h].append(len(self._splits))
        self._splits.append(split)
        return True


def round_robin(files: dict[str, list[scan.File]]) -> Iterator[tuple[str, scan.File]]:
    """One file of every source package, then a second one of each, ...: variety first."""
    sources = sorted(files, key=lambda source: hashlib.sha256(source.encode()).digest())
    for i in range(max(map(len, files.values()), default=0)):
        for source in sources:
            if i < len(files[source]):
                yield source, files[source][i]


def build(packages: list[scan.Package], split_of: dict[str, str]) -> list[dataset.Sample]:
    duplicates = Duplicates()
    pools: dict = collections.defaultdict(lambda: collections.defaultdict(list))
    for package in packages:
        for file in package.files:
            pools[split_of[package.name], file.label][package.source].append(file)
    samples = []
    for split in SPLITS:
        for label in labels.LABELS:
            quotas = _QUOTAS_BINARY if label in labels.BINARY else _QUOTAS
            most_files, most_bytes, most_of_one = quotas[split]
            size = 0
            chosen = []
            for source, file in round_robin(pools[split, label]):
                if len(chosen) == most_files or size >= most_bytes:
                    break
                if duplicates.is_new(file, split):
                    chosen.append(
                        dataset.Sample(
                            split, label, source, file.path, _excerpt(file, split, most_of_one)
                        )
                    )
                    size += len(chosen[-1].data)
            samples += sorted(chosen, key=lambda s: (s.source, s.path))
    return samples


def _excerpt(file: scan.File, split: str, most: int) -> bytes:
    """Of a long training file the start, and a piece from inside; of other files the start."""
    data = file.data
    if split != "train" or len(data) <= most:
        return data[:most]
    inside = most // 2 + int.from_bytes(file.digest[:4], "big") % (len(data) - most + 1)
    return data[: most // 2] + data[inside : inside + most // 2]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    options = parser.parse_args()

    split_of = read_packages()
    debs = download(split_of, options.cache / "deb")
    (options.cache / "scan").mkdir(exist_ok=True)
    with multiprocessing.Pool(options.jobs) as pool:
        packages = pool.map(
            functools.partial(scan.scan, cache=options.cache / "scan"), debs, chunksize=4
        )
    check_split(packages, split_of)
    samples = build(packages, split_of)
    origins = [dataset.Origin(p.name, p.version, p.source, split_of[p.name]) for p in packages]
    target = options.cache / "samples.zip"
    dataset.write(target, samples, origins)
    counts = collections.Counter((s.split, s.label) for s in samples)
    for label in labels.LABELS:
        print(f"{label:22}", *(f"{split} {counts[split, label]:4}" for split in SPLITS))
    size = target.stat().st_size / 1e6
    print(f"{target}: {len(samples)} files of {len(packages)} packages, {size:.1f} MB")


if __name__ == "__main__":
    main()
