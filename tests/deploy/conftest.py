"""Fixtures: what the real server exports and says about itself."""

import subprocess
import sys

import pytest

from paths import DEPLOY, ROOT

sys.path[:0] = [str(DEPLOY / "grafana"), str(ROOT / "tests/e2e")]


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Label names of every series that the real server shows at its first scrape, by the name of the series."""
    from harness import Server
    from models import write_random_model

    repository = tmp_path_factory.mktemp("repository")
    write_random_model(repository, seed=5)
    with Server(repository, tmp_path_factory.mktemp("server")) as server:
        samples = server.scrape()
    return {name: {label for labels in series for label, _ in labels} for name, series in samples.items()}


@pytest.fixture(scope="session")
def server_help():
    """What longwave-server --help prints."""
    from harness import SERVER

    # Abseil exits with 1 after --help.
    return subprocess.run([SERVER, "--help"], stdout=subprocess.PIPE, text=True, check=False).stdout
