"""Reads what a Grafana dashboard asks Prometheus for: used by deploy/verify and by the tests."""

import re
from collections.abc import Iterator

# The words of PromQL that look like metric names; what is left in an expression is one.
_WORDS = {"sum", "by", "rate", "histogram_quantile", "label_values", "absent", "job", "le", "vector", "max", "avg"}


def expressions(dashboard: dict) -> Iterator[tuple[str, str]]:
    """Every (panel title, expression), in the order of the panels; those inside collapsed rows too."""
    for panel in dashboard["panels"]:
        yield from expressions({"panels": panel.get("panels", [])})
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def variables(dashboard: dict) -> dict[str, str]:
    """The queries behind the dashboard's variables of type query, by name."""
    return {v["name"]: v["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"}


def substitute(expression: str, window: str) -> str:
    """The expression with every variable set to "All", as Grafana sends it, and with rates over `window`."""
    return re.sub(r"\$(instance|model)\b", ".*", expression.replace("$__rate_interval", window))


def metrics(expression: str) -> set[str]:
    """The names of the series that a PromQL expression reads; _bucket, _sum and _count are kept."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without)\s*\([^)]*\)', " ", expression)
    return {name for name in re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare)
            if (name not in _WORDS and not name.startswith("$"))}
