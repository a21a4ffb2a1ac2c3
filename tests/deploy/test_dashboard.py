"""The dashboard: well formed, complete, and asking only for what the server exports."""

import collections
import json
import re
import subprocess
import sys

import pytest
import queries

from paths import DEPLOY

DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/longwave.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = list(queries.expressions(DASHBOARD))

# Labels that Prometheus adds to each series of a target.
TARGET_LABELS = {"job", "instance"}


def test_is_what_the_generator_writes():
    pytest.importorskip("grafana_foundation_sdk")
    done = subprocess.run([sys.executable, DEPLOY / "grafana/generate.py", "--check"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_panels_are_distinct_and_described():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]


def test_panels_do_not_overlap():
    cells = collections.Counter(
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"]))
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_panel_has_a_unit_and_distinct_queries(panel):
    axis = panel["options"]["yAxis"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]
    assert axis["unit"]
    refs = [target["refId"] for target in panel["targets"]]
    assert refs and len(set(refs)) == len(refs) and all(refs)


def test_variables_are_used_and_exist():
    names = set(queries.variables(DASHBOARD))
    assert names == {"instance", "model"}
    for panel, expression in EXPRESSIONS:
        used = set(re.findall(r"\$(\w+)", expression)) - {"__rate_interval"}
        assert used <= names, f"{panel}: {expression}"
        assert "instance" in used, f"{panel}: {expression}"


def test_every_metric_is_exported(exported):
    wanted = {"up"} ^ set().union(*(queries.metrics(expression) for _, expression in EXPRESSIONS))
    assert wanted and wanted <= exported.keys()


def test_every_label_is_exported(exported):
    selected = 0
    texts = [expression for _, expression in EXPRESSIONS] + list(queries.variables(DASHBOARD).values())
    for text in texts:
        grouped = {label for group in re.findall(r"by \(([^)]*)\)", text) for label in re.split(r",\s*", group)}
        for metric, matchers in re.findall(r"\b(longwave_\w+)(?:\{([^}]*)\})?", text):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert labels | grouped <= exported[metric] | TARGET_LABELS, text
            selected += 1
    assert selected >= len(EXPRESSIONS)


def test_nothing_exported_stays_unseen(exported):
    """A metric that no panel shows is one that nobody looks at."""
    texts = " ".join([expression for _, expression in EXPRESSIONS] + list(queries.variables(DASHBOARD).values()))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("longwave_")}
    assert {family for family in families if family not in texts} == set()
