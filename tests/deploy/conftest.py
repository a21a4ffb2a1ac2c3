import json
import subprocess
import sys
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from paths import BUILD, DEPLOY, ROOT

sys.path.insert(0, str(DEPLOY / "grafana"))


def wait_for_ports(process, port_file):
    """The ports of a server that writes them to `port_file` once it is ready; fails when it ends before."""
    while not port_file.exists():
        try:
            status = process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"longwave-server ended with {status}")
    return json.loads(port_file.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Label names of every series that the real server shows at its first scrape, by the name of the series."""
    port_file = tmp_path_factory.mktemp("server") / "ports"
    command = [BUILD / "server/longwave-server", f"--model_repository={ROOT / 'model/pretrained'}",
               "--listen=127.0.0.1:0", "--metrics_listen=127.0.0.1:0", f"--port_file={port_file}"]
    with subprocess.Popen(command) as process:
        try:
            ports = wait_for_ports(process, port_file)
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}/metrics", timeout=30) as reply:
                text = reply.read().decode()
        finally:
            process.terminate()
    series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series
