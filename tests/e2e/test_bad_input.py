"""Requests that cannot be served: a clear error on the request or on the item alone, and a server that goes on."""

import grpc
import numpy as np
import pytest
from models import MAX_LENGTH, NAME

INVALID = grpc.StatusCode.INVALID_ARGUMENT
MODEL_LABELS = frozenset({("model", NAME)})


def classify_request(wire, *inputs, **fields):
    return wire.inference.ClassifyRequest(
        inputs=[wire.inference.Input(**fields_of_input) for fields_of_input in inputs], **fields
    )


# Input fields, the code that its result must have, words that its message must have.
BAD_ITEMS = {
    "empty text": ({"text": b""}, grpc.StatusCode.INVALID_ARGUMENT, ["found none"]),
    "empty bytes": ({"raw": b""}, grpc.StatusCode.INVALID_ARGUMENT, ["found none"]),
    "no ids": ({"token_ids": {"ids": []}}, grpc.StatusCode.INVALID_ARGUMENT, []),
    "nothing set": ({}, grpc.StatusCode.INVALID_ARGUMENT, []),
    "lone continuation byte": ({"text": b"ab\x80"}, grpc.StatusCode.INVALID_ARGUMENT, ["UTF-8"]),
    "surrogate": ({"text": b"\xed\xa0\x80"}, grpc.StatusCode.INVALID_ARGUMENT, ["UTF-8"]),
    "overlong": ({"text": b"\xc0\xaf"}, grpc.StatusCode.INVALID_ARGUMENT, ["UTF-8"]),
    "id out of range": ({"token_ids": {"ids": [1, 257]}}, INVALID, ["257"]),
    "huge id": ({"token_ids": {"ids": [4294967295]}}, INVALID, ["4294967295"]),
    "too long": ({"raw": b"x" * MAX_LENGTH}, grpc.StatusCode.OUT_OF_RANGE, [str(MAX_LENGTH)]),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_a_bad_item_fails_alone(wire, inference, name):
    fields, code, words = BAD_ITEMS[name]
    good = {"text": b"good"}
    for method, request in [
        (inference.Classify, wire.inference.ClassifyRequest),
        (inference.Encode, wire.inference.EncodeRequest),
    ]:
        response = method(
            request(inputs=[wire.inference.Input(**item) for item in (good, fields, good)]),
            timeout=60,
        )
        first, bad, last = response.results
        assert first.status.code == 0 and last.status.code == 0
        assert first.tokens == last.tokens == 5
        assert bad.status.code == code.value[0], bad.status.message
        for word in words:
            assert word in bad.status.message
        assert response.usage.inputs == 2


def test_a_bad_item_of_a_stream_is_closed_by_one_chunk(wire, inference):
    request = wire.inference.EncodeStreamRequest(
        inputs=[wire.inference.Input(raw=b""), wire.inference.Input(raw=b"good")]
    )
    chunks = list(inference.EncodeStream(request, timeout=60))
    (bad,) = [chunk for chunk in chunks if chunk.input_index == 0]
    assert bad.status.code == INVALID.value[0] and bad.last and not bad.rows.data
    assert any(chunk.input_index == 1 and chunk.last for chunk in chunks)


def test_bytes_of_any_content_are_fine(wire, inference):
    response = inference.Classify(classify_request(wire, {"raw": bytes(range(256))}), timeout=60)
    assert response.results[0].status.code == 0


def test_unknown_model_version_and_head(wire, inference, code_of):
    item = {"text": b"a"}
    code, details = code_of(
        inference.Classify, classify_request(wire, item, model={"name": "other"})
    )
    assert code == grpc.StatusCode.NOT_FOUND and "other" in details
    code, details = code_of(
        inference.Classify, classify_request(wire, item, model={"name": "toy", "version": 9})
    )
    assert code == grpc.StatusCode.NOT_FOUND and "9" in details
    code, details = code_of(inference.Classify, classify_request(wire, item, head="shape"))
    assert code == INVALID and "shape" in details


def test_requests_that_can_never_work(wire, inference, code_of):
    item = {"text": b"a"}
    code, _ = code_of(inference.Classify, classify_request(wire))
    assert code == INVALID
    code, details = code_of(inference.Classify, classify_request(wire, item, top_k=-1))
    assert code == INVALID and "top_k" in details
    code, details = code_of(
        inference.Classify,
        classify_request(wire, item, truncation={"max_tokens": MAX_LENGTH + 1}),
    )
    assert code == INVALID and "max_tokens" in details
    code, details = code_of(
        inference.Encode,
        wire.inference.EncodeRequest(
            inputs=[wire.inference.Input(**item)],
            options={"format": {"as_floats": True, "type": wire.inference.EMBEDDING_TYPE_FLOAT16}},
        ),
    )
    assert code == INVALID


def test_a_hundred_thousand_inputs(wire, inference, code_of):
    request = classify_request(wire)
    for _ in range(100_000):
        request.inputs.add(text=b"a")
    code, details = code_of(inference.Classify, request)
    assert code == INVALID
    assert "100000" in details and "2048" in details


def test_a_request_over_the_message_limit(wire, start_server, code_of):
    server = start_server("--max_message_bytes=1MiB")
    with server.channel() as channel:
        stub = wire.inference_grpc.InferenceServiceStub(channel)
        code, _ = code_of(stub.Classify, classify_request(wire, {"raw": b"x" * (1 << 20)}))
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (
            stub.Classify(classify_request(wire, {"raw": b"x"}), timeout=60).results[0].tokens == 2
        )


def test_a_unary_result_over_the_limit_is_refused_before_any_compute(wire, start_server, code_of):
    server = start_server("--max_response_bytes=1MiB")
    inputs = [wire.inference.Input(raw=b"x" * 10_000)]
    options = wire.inference.EncodeOptions(pooling={"none": {}})
    with server.channel() as channel:
        stub = wire.inference_grpc.InferenceServiceStub(channel)
        code, details = code_of(
            stub.Encode, wire.inference.EncodeRequest(inputs=inputs, options=options)
        )
        assert code == grpc.StatusCode.OUT_OF_RANGE
        assert "EncodeStream" in details
        tokens = server.scrape()["longwave_tokens_total"][MODEL_LABELS]
        stream = stub.EncodeStream(
            wire.inference.EncodeStreamRequest(inputs=inputs, options=options), timeout=60
        )
        rows = sum(chunk.rows.shape[0] for chunk in stream)
    assert tokens == 0
    assert rows == 10_001
    assert server.scrape()["longwave_tokens_total"][MODEL_LABELS] == 10_001


def test_garbage_on_the_wire_fails_alone(server, wire, code_of):
    random = np.random.default_rng(3)
    with server.channel() as channel:
        for length in (1, 10, 1000):
            garbage = b"\xff" + random.integers(0, 256, length, np.uint8).tobytes()
            method = channel.unary_unary("/longwave.v1.InferenceService/Classify")
            code_of(method, garbage)  # the code is gRPC's choice
        stub = wire.inference_grpc.InferenceServiceStub(channel)
        assert (
            stub.Classify(classify_request(wire, {"raw": b"x"}), timeout=60).results[0].tokens == 2
        )
