"""What is served equals what the Python modules compute in float64."""

import numpy as np
import pytest
import torch
from harness import longwave
from longwave_torch.load import load_model
from models import LABELS, NAME

TOLERANCE = 1e-5
LENGTHS = [1, 2, 3, 16, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 1000, 2000]


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest element of each row."""
    difference = np.abs(np.asarray(found, np.float64) - expected)
    return float((difference / np.abs(expected).max(axis=-1, keepdims=True)).max())


def vector(embedding) -> np.ndarray:
    return np.frombuffer(embedding.data, "<f4").reshape(list(embedding.shape))


@pytest.fixture(scope="module")
def documents() -> list[bytes]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, length, np.uint8).tobytes() for length in LENGTHS]


@pytest.fixture(scope="module")
def reference(repository):
    model = load_model(repository / NAME / "1").double()
    tokenizer = model.config.tokenizer

    def ids(document: bytes) -> torch.Tensor:
        return torch.tensor([tokenizer.ids_of_bytes(document)])

    return model, ids


def request(wire, documents, **options):
    return wire.inference.EncodeRequest(
        inputs=[wire.inference.Input(raw=document) for document in documents],
        options=wire.inference.EncodeOptions(**options),
    )


@pytest.mark.parametrize("pooling", ["mean", "first_token"])
@pytest.mark.parametrize("normalize", [False, True])
def test_embeddings_equal_pythons(wire, inference, documents, reference, pooling, normalize):
    model, ids = reference
    response = inference.Encode(
        request(wire, documents, pooling={pooling: {}}, normalize=normalize), timeout=60
    )
    assert [result.status.code for result in response.results] == [0] * len(documents)
    with torch.no_grad():
        for document, result in zip(documents, response.results, strict=True):
            expected = model.encode(ids(document), pooling=pooling, normalize=normalize)[0].numpy()
            assert relative_error(vector(result.embedding), expected) < TOLERANCE, len(document)
            assert result.tokens == len(document) + 1


def test_per_token_embeddings_equal_pythons(wire, inference, documents, reference):
    model, ids = reference
    stream = inference.EncodeStream(
        wire.inference.EncodeStreamRequest(
            inputs=[wire.inference.Input(raw=document) for document in documents],
            options=wire.inference.EncodeOptions(pooling={"none": {}}),
            max_chunk_bytes=4096,
        ),
        timeout=60,
    )
    rows = {index: [] for index in range(len(documents))}
    chunks = 0
    for chunk in stream:
        chunks += 1
        assert chunk.status.code == 0
        assert len(chunk.rows.data) <= 4096
        rows[chunk.input_index].append(vector(chunk.rows))
    assert chunks > 2 * len(documents)
    with torch.no_grad():
        for index, document in enumerate(documents):
            expected = model.encode(ids(document), pooling="none")[0].numpy()
            assert relative_error(np.concatenate(rows[index]), expected) < TOLERANCE, len(document)


def test_probabilities_equal_pythons(wire, inference, documents, reference):
    model, ids = reference
    response = inference.Classify(
        wire.inference.ClassifyRequest(
            inputs=[wire.inference.Input(raw=document) for document in documents]
        ),
        timeout=60,
    )
    with torch.no_grad():
        for document, result in zip(documents, response.results, strict=True):
            expected = model.logits(ids(document)).softmax(-1)[0]
            found = {label.label: label.probability for label in result.labels}
            for label, probability in zip(LABELS, expected.tolist(), strict=True):
                assert found[label] == pytest.approx(probability, abs=TOLERANCE)
            assert [label.label for label in result.labels] == [
                LABELS[i] for i in expected.argsort(descending=True)
            ]


def test_batched_answers_equal_single_ones(wire, inference, documents):
    together = inference.Encode(request(wire, documents), timeout=60)
    for document, result in zip(documents, together.results, strict=True):
        alone = inference.Encode(request(wire, [document]), timeout=60).results[0]
        error = relative_error(vector(result.embedding), vector(alone.embedding).astype(np.float64))
        assert error < TOLERANCE, len(document)


@pytest.mark.parametrize(("kind", "tolerance"), [("FLOAT16", 6e-4), ("BFLOAT16", 4.5e-3)])
def test_half_precision_is_rounded_float32(wire, inference, documents, kind, tolerance):
    kind = getattr(wire.inference, f"EMBEDDING_TYPE_{kind}")
    full = inference.Encode(request(wire, documents), timeout=60)
    half = inference.Encode(request(wire, documents, format={"type": kind}), timeout=60)
    for a, b in zip(full.results, half.results, strict=True):
        bits = np.frombuffer(b.embedding.data, "<u2")
        if kind == wire.inference.EMBEDDING_TYPE_FLOAT16:
            found = bits.view(np.float16).astype(np.float64)
        else:
            found = (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        assert relative_error(found, vector(a.embedding).astype(np.float64)) < tolerance


def test_floats_equal_bytes(wire, inference, documents):
    as_bytes = inference.Encode(request(wire, documents[:3]), timeout=60)
    as_floats = inference.Encode(
        request(wire, documents[:3], format={"as_floats": True}), timeout=60
    )
    for a, b in zip(as_bytes.results, as_floats.results, strict=True):
        assert not b.embedding.data
        error = relative_error(b.embedding.values, vector(a.embedding).astype(np.float64))
        assert error < TOLERANCE


def test_the_client_writes_what_python_computes(server, documents, reference, tmp_path):
    model, ids = reference
    folder = tmp_path / "documents"
    folder.mkdir()
    for index, document in enumerate(documents):
        (folder / f"{index:02}").write_bytes(document)
    ended = longwave("encode", str(folder), "--npy", str(tmp_path / "out.npy"), server=server)
    assert (ended.returncode, ended.stderr) == (0, "")
    with torch.no_grad():
        expected = torch.cat([model.encode(ids(document)) for document in documents]).numpy()
    found = np.load(tmp_path / "out.npy")
    assert found.dtype == np.float32
    assert relative_error(found, expected) < TOLERANCE

    ended = longwave(
        "encode",
        str(folder / "04"),
        "--pooling=none",
        "--npy",
        str(tmp_path / "tokens.npy"),
        server=server,
    )
    assert ended.returncode == 0
    with torch.no_grad():
        expected = model.encode(ids(documents[4]), pooling="none")[0].numpy()
    assert relative_error(np.load(tmp_path / "tokens.npy"), expected) < TOLERANCE
