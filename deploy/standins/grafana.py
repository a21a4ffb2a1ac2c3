#!/usr/bin/env python3
"""The part of Grafana that deploy/verify asks for, on port 3000.

Reads the provisioning as Grafana does (data sources, then the dashboard providers' folders of JSON) and answers
    /api/health
    /api/dashboards/uid/UID
    /api/datasources/proxy/uid/UID/...   passed on to the data source
so that a wrong path, mount or reference in the provisioning is found without Grafana itself. It draws nothing.
"""

import json
import pathlib
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml

PROVISIONING = pathlib.Path("/etc/grafana/provisioning")
PORT = 3000


def provisioned(kind: str, key: str) -> list[dict]:
    """The entries under `key` of every YAML file in the folder `kind`."""
    files = sorted((PROVISIONING / kind).glob("*.y*ml"))
    return [entry for file in files for entry in yaml.safe_load(file.read_text(encoding="utf-8"))[key]]


def load_dashboards() -> dict[str, dict]:
    found = {}
    for provider in provisioned("dashboards", "providers"):
        for file in sorted(pathlib.Path(provider["options"]["path"]).glob("**/*.json")):
            dashboard = json.loads(file.read_text(encoding="utf-8"))
            found[dashboard["uid"]] = dashboard
    return found


SOURCES = {source["uid"]: source for source in provisioned("datasources", "datasources")}
DASHBOARDS = load_dashboards()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):  # The name that http.server calls.
        match self.path.strip("/").split("/", 5):
            case ["api", "health"]:
                self.answer({"database": "ok"})
            case ["api", "dashboards", "uid", uid] if uid in DASHBOARDS:
                self.answer({"dashboard": DASHBOARDS[uid], "meta": {"provisioned": True}})
            case ["api", "datasources", "proxy", "uid", uid, rest] if uid in SOURCES:
                with urllib.request.urlopen(f"{SOURCES[uid]['url']}/{rest}", timeout=10) as reply:
                    self.answer(json.load(reply))
            case _:
                self.send_error(404)

    def answer(self, value: dict):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
