"""SIGTERM: not serving any more, what is inside is answered, exit code 0."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness import longwave

TOKENS = 40_000  # enough work to be inside when the signal comes
LONG_DOCUMENT = b"x" * (TOKENS - 1)


def in_flight(server) -> float:
    return server.scrape()["longwave_requests_in_flight"][frozenset()]


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
        answers = [stub.Classify.future(request, timeout=60) for _ in range(2)]
        while in_flight(server) < len(answers):
            assert not any(answer.done() for answer in answers), "answered before the signal"
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
        answers = [stub.Classify.future(request, timeout=60) for _ in range(4)]
        while in_flight(server) < len(answers):
            pass
        assert server.terminate() == 3
        assert grpc.StatusCode.UNAVAILABLE in {answer.code() for answer in answers} or any(
            answer.code() == grpc.StatusCode.CANCELLED for answer in answers
        )
    assert "4 requests were not answered" in server.log()
