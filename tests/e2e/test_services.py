"""The standard services and the metrics of a running server."""

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from models import NAME

RPCS = ("Encode", "EncodeStream", "Classify")
DURATION_BOUNDS = [15e-6 * 1.5**k for k in range(35)]


def test_reflection_describes_every_service(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert services >= {
        "longwave.v1.InferenceService",
        "longwave.v1.ModelService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    service = DescriptorPool(database).FindServiceByName("longwave.v1.InferenceService")
    assert [method.name for method in service.methods] == list(RPCS)


@pytest.mark.parametrize("service", ["", "longwave.v1.InferenceService"])
def test_health(channel, service):
    stub = health_pb2_grpc.HealthStub(channel)
    response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
    assert response.status == health_pb2.HealthCheckResponse.SERVING


def test_unknown_service_has_no_health(channel, code_of):
    stub = health_pb2_grpc.HealthStub(channel)
    code, _ = code_of(stub.Check, health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert code == grpc.StatusCode.NOT_FOUND


def test_list_and_get_model(wire, channel, code_of):
    stub = wire.model_grpc.ModelServiceStub(channel)
    (listed,) = stub.ListModels(wire.model.ListModelsRequest(), timeout=60).models
    got = stub.GetModel(wire.model.GetModelRequest(name=NAME), timeout=60).model
    assert listed == got
    assert list(got.tasks) == ["encode", "classify"]
    code, details = code_of(stub.GetModel, wire.model.GetModelRequest(name="other"))
    assert code == grpc.StatusCode.NOT_FOUND and "other" in details


def labels(**pairs) -> frozenset:
    return frozenset(pairs.items())


def bounds(samples, name) -> list[float]:
    found = {float(dict(key)["le"]) for key in samples[f"{name}_bucket"]}
    return sorted(found - {float("inf")})


def test_every_series_is_there_at_the_first_scrape(start_server):
    samples = start_server().scrape()
    model = labels(model=NAME)
    for rpc in RPCS:
        for code in ("OK", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED",
                     "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"):  # fmt: skip
            key = labels(rpc=rpc, model=NAME, code=code)
            assert samples["longwave_requests_total"][key] == 0
        duration = labels(rpc=rpc, model=NAME)
        assert samples["longwave_request_duration_seconds_count"][duration] == 0
    assert samples["longwave_inputs_total"][labels(model=NAME, code="OK")] == 0
    for name in ("tokens_total", "padded_tokens_total", "queue_tokens", "queue_inputs"):
        assert samples[f"longwave_{name}"][model] == 0
    for name in ("batch_size", "batch_tokens", "queue_duration_seconds", "tokenize_duration_seconds"):
        assert samples[f"longwave_{name}_count"][model] == 0
    on_device = labels(model=NAME, device="cpu")
    assert samples["longwave_compute_duration_seconds_count"][on_device] == 0
    assert samples["longwave_requests_in_flight"] == {frozenset(): 0}
    assert samples["longwave_model_info"][labels(model=NAME, version="1", device="cpu")] == 1
    assert list(samples["longwave_build_info"].values()) == [1]

    assert bounds(samples, "longwave_batch_size") == [2**k for k in range(13)]
    assert bounds(samples, "longwave_batch_tokens") == [2**k for k in range(4, 25)]
    for name in ("queue", "tokenize", "compute", "request"):
        found = bounds(samples, f"longwave_{name}_duration_seconds")
        assert found == pytest.approx(DURATION_BOUNDS, rel=1e-4)


def test_metrics_move_by_what_was_asked(wire, start_server, code_of):
    server = start_server()
    with server.channel() as channel:
        stub = wire.inference_grpc.InferenceServiceStub(channel)
        items = [wire.inference.Input(raw=data) for data in (b"abc", b"", b"defgh")]
        for _ in range(4):
            stub.Classify(wire.inference.ClassifyRequest(inputs=items), timeout=60)
        stub.Encode(wire.inference.EncodeRequest(inputs=items[:1]), timeout=60)
        list(stub.EncodeStream(wire.inference.EncodeStreamRequest(inputs=items), timeout=60))
        code_of(stub.Classify, wire.inference.ClassifyRequest(inputs=items[:1], top_k=-1))
    samples = server.scrape()

    def requests(rpc, code):
        return samples["longwave_requests_total"][labels(rpc=rpc, model=NAME, code=code)]

    assert requests("Classify", "OK") == 4
    assert requests("Encode", "OK") == 1
    assert requests("EncodeStream", "OK") == 1
    assert requests("Classify", "INVALID_ARGUMENT") == 1
    inputs = samples["longwave_inputs_total"]
    assert inputs[labels(model=NAME, code="OK")] == 4 * 2 + 1 + 2
    assert inputs[labels(model=NAME, code="INVALID_ARGUMENT")] == 4 + 1 + 1
    model = labels(model=NAME)
    assert samples["longwave_tokens_total"][model] == 4 * (4 + 6) + 4 + (4 + 6)
    assert samples["longwave_padded_tokens_total"][model] == 0
    assert samples["longwave_batch_size_sum"][model] == 11
    assert samples["longwave_batch_tokens_sum"][model] == 54
    assert (
        samples["longwave_compute_duration_seconds_count"][labels(model=NAME, device="cpu")]
        == samples["longwave_batch_size_count"][model]
    )
    assert samples["longwave_queue_duration_seconds_count"][model] == 11
    for rpc, count in {"Classify": 5, "Encode": 1, "EncodeStream": 1}.items():
        key = labels(rpc=rpc, model=NAME)
        assert samples["longwave_request_duration_seconds_count"][key] == count
    assert samples["longwave_requests_in_flight"] == {frozenset(): 0}
    assert samples["longwave_queue_tokens"][model] == 0


def test_timing_and_usage_add_up(wire, inference):
    response = inference.Classify(
        wire.inference.ClassifyRequest(inputs=[wire.inference.Input(raw=b"x" * 999)]), timeout=60
    )
    assert response.usage.tokens == 1000
    assert response.model.name == NAME and response.model.version == 1
    timing = response.timing
    assert timing.compute_ns > 0
    assert timing.total_ns >= timing.compute_ns + timing.queue_ns
