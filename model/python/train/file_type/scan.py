"""Reads Debian packages without installing them and picks labelled files out of them."""

import bz2
import gzip
import hashlib
import io
import lzma
import pathlib
import pickle
import re
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import labels

MIN_BYTES = 64
MAX_BYTES = 65536  # kept of one file
_MAX_READ = 4 << 20  # larger files are skipped, unless they are archives of sources
_FILES_PER_CLASS = 80  # of one package; for the classes that few packages have:
_FILES_PER_SCARCE_CLASS = 400
_SCARCE = re.compile(r"man page|CSV|LaTeX|Java$|diff|SQL|gettext")


class File(NamedTuple):
    label: str
    path: str
    data: bytes  # at most MAX_BYTES, from the start
    digest: bytes  # of the whole content without white space
    sketch: list[
        int
    ]  # the smallest hashes of its 5-token shingles: see near_duplicates in collect.py


class Package(NamedTuple):
    name: str
    version: str
    source: str
    files: list[File]


def scan(deb: pathlib.Path, cache: pathlib.Path) -> Package:
    """The labelled files of one package. The result is kept in `cache`."""
    stored = cache / (deb.name + ".pickle")
    if stored.exists():
        return pickle.loads(stored.read_bytes())
    fields = subprocess.run(
        ["dpkg-deb", "--show", "--showformat=${Package}\n${Version}\n${source:Package}", deb],
        check=True,
        capture_output=True,
    ).stdout.decode()
    name, version, source = fields.split("\n")
    package = Package(name, version, source, _pick(_members(deb)))
    partial = stored.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(package))
    partial.rename(stored)
    return package


def _members(deb: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as tar:
            yield from _tar_members(tar, "")


def _tar_members(tar: tarfile.TarFile, prefix: str) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        if not member.isfile() or member.size < MIN_BYTES:
            continue
        path = prefix + member.name.removeprefix("./")
        archive = re.search(r"(usr/src/.*\.tar\.(gz|xz|bz2)|/src\.zip)$", path)
        if member.size > _MAX_READ and not archive:
            continue
        data = tar.extractfile(member).read()
        yield path, data
        if archive:
            yield from _archive_members(path, data)
        elif path.endswith(".gz"):
            try:
                yield path[:-3], gzip.decompress(data)
            except (OSError, EOFError, zlib.error):
                pass  # a test file that is broken on purpose


def _archive_members(path: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Source packages inside packages: gcc-12-source, openjdk-17-source, ..."""
    if path.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if MIN_BYTES <= info.file_size <= _MAX_READ:
                    yield f"{path}/{info.filename}", archive.read(info)
        return
    unpack = {"gz": gzip.open, "xz": lzma.open, "bz2": bz2.open}[path.rsplit(".", 1)[1]]
    with unpack(io.BytesIO(data)) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        yield from _tar_members(tar, path + "/")


def _pick(members: Iterator[tuple[str, bytes]]) -> list[File]:
    """Up to _FILES_PER_CLASS of each class, by a hash of the path: the same ones every time."""
    found: dict[str, list[tuple[bytes, str, bytes]]] = {}
    headers: list[tuple[bytes, str, bytes]] = []

    def limit(label: str) -> int:
        return _FILES_PER_SCARCE_CLASS if _SCARCE.match(label) else _FILES_PER_CLASS

    def keep(label: str, pool: list, path: str, data: bytes) -> None:
        pool.append((hashlib.sha256(path.encode()).digest(), path, data))
        if len(pool) > 4 * limit(label):
            pool.sort()
            del pool[limit(label) :]

    for path, data in members:
        if len(data) < MIN_BYTES:
            continue
        if labels.is_header(path):
            keep("C++", headers, path, data)
        elif label := labels.label_of(path, data):
            keep(label, found.setdefault(label, []), path, data)
    for label, header in zip(
        labels.label_headers([h[2] for h in headers], "C++" in found), headers
    ):
        if label:
            found.setdefault(label, []).append(header)
    return [
        _file(label, *f[1:])
        for label in sorted(found)
        for f in sorted(found[label])[: limit(label)]
    ]


def _file(label: str, path: str, data: bytes) -> File:
    digest = hashlib.sha256(b"".join(data.split())).digest()[:16]
    sketch = [] if label in labels.BINARY else _sketch(data[:MAX_BYTES])
    return File(label, path, data[:MAX_BYTES], digest, sketch)


def _sketch(data: bytes, size: int = 64) -> list[int]:
    tokens = re.findall(rb"\w+|[^\w\s]", data.lower())
    shingles = {b" ".join(tokens[i : i + 5]) for i in range(max(1, len(tokens) - 4))}
    return sorted(
        int.from_bytes(hashlib.blake2b(s, digest_size=8).digest(), "big") for s in shingles
    )[:size]
