"""scripts/demo_metrics.py, on scrapes whose differences are known."""

import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "demo_metrics.py"

BEFORE = """\
# TYPE longwave_requests_total counter
longwave_requests_total{code="OK",rpc="Encode"} 10
longwave_requests_total{code="OK",rpc="Classify"} 3
# TYPE longwave_queue_duration_seconds histogram
longwave_queue_duration_seconds_bucket{le="0.001"} 100
longwave_queue_duration_seconds_bucket{le="0.002"} 100
longwave_queue_duration_seconds_bucket{le="+Inf"} 100
longwave_queue_duration_seconds_sum 0.05
longwave_queue_duration_seconds_count 100
# TYPE longwave_batch_size histogram
longwave_batch_size_bucket{le="1"} 0
longwave_batch_size_bucket{le="2"} 0
longwave_batch_size_bucket{le="+Inf"} 0
longwave_batch_size_sum 0
longwave_batch_size_count 0
# TYPE exposer_scrapes_total counter
exposer_scrapes_total 1
"""

AFTER = """\
# TYPE longwave_requests_total counter
longwave_requests_total{code="OK",rpc="Encode"} 1510
longwave_requests_total{code="OK",rpc="Classify"} 3
# TYPE longwave_queue_duration_seconds histogram
longwave_queue_duration_seconds_bucket{le="0.001"} 102
longwave_queue_duration_seconds_bucket{le="0.002"} 104
longwave_queue_duration_seconds_bucket{le="+Inf"} 104
longwave_queue_duration_seconds_sum 0.055
longwave_queue_duration_seconds_count 104
# TYPE longwave_batch_size histogram
longwave_batch_size_bucket{le="1"} 3
longwave_batch_size_bucket{le="2"} 4
longwave_batch_size_bucket{le="+Inf"} 4
longwave_batch_size_sum 5
longwave_batch_size_count 4
# TYPE exposer_scrapes_total counter
exposer_scrapes_total 2
"""


def test_only_what_moved_is_shown(tmp_path):
    (tmp_path / "after").write_text(AFTER)
    (tmp_path / "before").write_text(BEFORE)
    ended = subprocess.run(
        [sys.executable, SCRIPT, "changes", tmp_path / "before", (tmp_path / "after").as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert rows == [
        ["COUNTER", "BEFORE", "AFTER"],
        ['longwave_requests_total{code="OK",rpc="Encode"}', "10", "1,510"],
        [],
        ["HISTOGRAM", "SAMPLES", "MEAN", "P50", "P95"],
        ["longwave_batch_size", "4", "1.25", "<=", "1", "<=", "2"],
        ["longwave_queue_duration_seconds", "4", "1.25", "ms", "1", "ms", "1.9", "ms"],
    ]


def test_a_scrape_is_kept_as_it_came(tmp_path):
    (tmp_path / "after").write_text(AFTER)
    url = (tmp_path / "after").as_uri()
    subprocess.run([sys.executable, SCRIPT, "save", url, tmp_path / "kept"], check=True)
    assert (tmp_path / "kept").read_text() == AFTER


def test_wrong_usage_is_explained():
    ended = subprocess.run([sys.executable, SCRIPT, "show"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "demo_metrics.py save URL FILE" in ended.stderr
