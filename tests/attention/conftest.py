"""Every test runs on the CPU and, where there is a GPU and the CUDA library is built, on it; those marked `host`, `cpu` or `gpu` on one."""

import operators
import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "host: what it tests is the same code on every device")
    config.addinivalue_line("markers", "cpu: what it tests is there on CPUs only")
    config.addinivalue_line("markers", "gpu: what it tests is there on GPUs only")


def pytest_generate_tests(metafunc):
    only = {"host": ["cpu"], "cpu": ["cpu"], "gpu": ["cuda"]}
    devices = [only[name] for name in only if metafunc.definition.get_closest_marker(name)]
    metafunc.parametrize("device", devices[0] if devices else ["cpu", "cuda"], indirect=True)


@pytest.fixture(autouse=True)
def device(request, monkeypatch):
    """The device's name; operators.attend and operators.attend_2d compute there."""
    if request.param == "cuda" and operators.WHY_NO_CUDA:
        pytest.skip(operators.WHY_NO_CUDA)
    monkeypatch.setattr(operators, "device", request.param)
    return request.param
