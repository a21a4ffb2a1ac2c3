"""Prometheus' configuration and rules: what promtool says, and that they ask only for what exists."""

import re
import shutil
import subprocess

import pytest
import queries
import yaml

from paths import DEPLOY, ROOT

CONFIG = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
RULES = [rule for group in yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text(encoding="utf-8"))["groups"]
         for rule in group["rules"]]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def promtool(*arguments):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_configuration_and_rules_are_valid():
    promtool("check", "config", DEPLOY / "prometheus/prometheus.yml")


def test_rules_record_and_fire_as_told():
    promtool("test", "rules", ROOT / "tests/deploy/rules_test.yml")


def test_rules_use_only_exported_or_recorded_series(exported):
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    wanted = set().union(*(queries.metrics(rule["expr"]) for rule in RULES))
    assert recorded and wanted - recorded - {"up"} <= exported.keys()


def test_every_recorded_series_is_well_named():
    for rule in RULES:
        if "record" in rule:
            assert re.fullmatch(r"model:longwave_\w+:\w+", rule["record"])


def test_alerts_say_what_is_wrong_and_how_bad():
    alerts = [rule for rule in RULES if "alert" in rule]
    assert alerts
    for alert in alerts:
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"]["summary"]


def test_scrapes_the_metrics_port_of_the_compose_service():
    job = next(job for job in CONFIG["scrape_configs"] if job["job_name"] == "longwave")
    (target,) = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert any(publication.endswith(f":{port}") for publication in COMPOSE["services"][service]["ports"])


def test_grafana_knows_the_scrape_interval():
    """$__rate_interval is derived from it: too short and rates have gaps."""
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    assert source["jsonData"]["timeInterval"] == CONFIG["global"]["scrape_interval"]
