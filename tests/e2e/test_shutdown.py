"""SIGTERM: not serving any more, what is inside is answered, exit code 0."""

import re
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import PATIENCE_S, longwave

TOKENS = 40_000  # enough work to be inside when the signal comes
LONG_DOCUMENT = b"x" * (TOKENS - 1)


def await_arrival(server, answers) -> None:
    """Returns when the server has every request, answered ones too; some must be left to answer."""
    give_up = time.monotonic() + PATIENCE_S
    arrived = 0
    while arrived < len(answers):
        assert time.monotonic() < give_up, f"{arrived} of {len(answers)} requests arrived"
        arrived = sum(answer.done() for answer in answers)  # before the scrape: none counts twice
        arrived += server.scrape()["longwave_requests_in_flight"][frozenset()]
    assert not all(answer.done() for answer in answers), "too little work for this machine"


def test_an_idle_server_stops_at_once(start_server):
    server = start_server()
    assert server.terminate() == 0
    assert longwave("health", server=server).returncode == 3


def test_requests_inside_are_answered(wire, start_server):
    server = start_server("--drain_timeout=5m")
    with server.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60
        )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stub = wire.inference_grpc.InferenceServiceStub(channel)
        request = wire.inference.ClassifyRequest(inputs=[wire.inference.Input(raw=LONG_DOCUMENT)])
        answers = [stub.Classify.future(request, timeout=60) for _ in range(4)]
        await_arrival(server, answers)
        server.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for answer in answers:
            assert answer.result().results[0].tokens == TOKENS
    assert server.process.wait(60) == 0


def test_what_does_not_end_in_time_is_dropped(wire, start_server):
    server = start_server("--drain_timeout=1ms")
    with server.channel() as channel:
        stub = wire.inference_grpc.InferenceServiceStub(channel)
        request = wire.inference.ClassifyRequest(inputs=[wire.inference.Input(raw=LONG_DOCUMENT)])
        answers = [stub.Classify.future(request, timeout=60) for _ in range(8)]
        await_arrival(server, answers)
        assert server.terminate() == 3
        codes = [answer.code() for answer in answers]
    assert set(codes) <= {
        grpc.StatusCode.OK,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
    }
    dropped = sum(code != grpc.StatusCode.OK for code in codes)
    (late,) = re.findall(r"(\d+) requests were not answered", server.log())
    assert 1 <= dropped <= int(late) <= len(answers)  # one may still end while connections close
