#!/usr/bin/env python3
"""Writes dashboards/longwave.json, the dashboard that Grafana is provisioned with.

    pip install 'grafana-foundation-sdk==1769699379!11.6.0'
    deploy/grafana/generate.py             # after a change of this file
    deploy/grafana/generate.py --check     # exit 1 when the JSON is not what this file says

Every query filters by the variables `instance` and `model`. Rates use Grafana's $__rate_interval, which is at least four
scrape intervals, so that a panel never falls between two scrapes.
"""

import argparse
import itertools
import pathlib
import sys

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    GraphGradientMode, LegendDisplayMode, LegendPlacement, ScaleDistribution, SortOrder, TooltipDisplayMode,
    VisibilityMode)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync, DataSourceRef, VariableOption, VariableRefresh, VariableSort)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

OUTPUT = pathlib.Path(__file__).parent / "dashboards" / "longwave.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

# Matchers of the series that carry a model, and of those of the whole process.
MODEL = 'instance=~"$instance",model=~"$model"'
PROCESS = 'instance=~"$instance"'

REQUESTS, SECONDS, RATIO, COUNT = "reqps", "s", "percentunit", "short"
TOKENS, TOKENS_PER_SECOND, INPUTS_PER_SECOND = "suffix: tokens", "suffix: tokens/s", "suffix: inputs/s"
BATCHES, BYTES = "suffix: batches/s", "bytes"

GRID_WIDTH = 24


def rate(metric: str, by: str = "", matchers: str = MODEL) -> str:
    """Per-second increase of a counter, summed over all but the labels `by`."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{matchers}}}[$__rate_interval]))"


def quantile(q: float, histogram: str, by: str) -> str:
    """The comparison drops NaN, the quantile of a histogram without new observations: not a curve, nor a legend entry."""
    return f"histogram_quantile({q}, {rate(histogram + '_bucket', f'{by}, le')}) >= 0"


def query(expr: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id("A").datasource(SOURCE).expr(expr).legend_format(legend).range()


def number(title: str, description: str, unit: str, expr: str) -> stat.Panel:
    """One current value with its recent course behind it."""
    return (stat.Panel().title(title).description(description).datasource(SOURCE).unit(unit)
            .span(GRID_WIDTH // 6).height(4).with_target(query(expr, title)))


def lines(title: str, description: str, unit: str, *queries: prometheus.Dataquery,
          width: int = 3) -> timeseries.Panel:
    """Curves over time; `width` panels share one line of the dashboard."""
    panel = (timeseries.Panel().title(title).description(description).datasource(SOURCE).unit(unit).min(0)
             .span(GRID_WIDTH // width).height(8).fill_opacity(8).gradient_mode(GraphGradientMode.NONE)
             .show_points(VisibilityMode.NEVER)
             .legend(common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
                     .placement(LegendPlacement.BOTTOM).show_legend(True))
             .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)))
    for ref_id, target in zip("ABCDEF", queries):
        panel.with_target(target.ref_id(ref_id))
    return panel


def quantiles(title: str, description: str, unit: str, histogram: str, by: str = "model",
              width: int = 4) -> timeseries.Panel:
    """Median, 95th and 99th percentile of a histogram on a logarithmic axis: latencies span decades."""
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    panel = lines(title, description, unit,
                  *(query(quantile(q, histogram, by), f"p{round(100 * q)} {legend}") for q in (0.5, 0.95, 0.99)),
                  width=width)
    return panel.scale_distribution(
        common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)).min(None)


def latency_map() -> heatmap.Panel:
    buckets = query(rate("longwave_request_duration_seconds_bucket", "le"), "{{le}}").format(PromQueryFormat.HEATMAP)
    return (heatmap.Panel().title("Requests by total latency").datasource(SOURCE)
            .description("How many requests a second finish within each latency bucket.")
            .span(GRID_WIDTH // 2).height(8).calculate(False)
            .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
            .y_axis(heatmap.YAxisConfig().unit(SECONDS))
            .with_target(buckets))


def variable(name: str, label: str, values: str) -> dashboards.QueryVariable:
    """A choice of label values: several at once, all of them by default, refreshed with the time range."""
    return (dashboards.QueryVariable(name).label(label).datasource(SOURCE).query(values)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
            .multi(True).include_all(True).all_value(".*").current(VariableOption(text="All", value="$__all")))


def overview() -> list:
    errors = rate("longwave_requests_total", matchers=MODEL + ',code!="OK"')
    requests = rate("longwave_requests_total")
    return [
        number("Requests", "Finished requests a second, all RPCs.", REQUESTS, requests),
        number("Failed", "Share of the requests whose status is not OK.", RATIO, f"{errors} / {requests}"),
        number("Latency p99", "99% of the requests take no longer, from arrival to the last byte handed to gRPC.",
               SECONDS, f"histogram_quantile(0.99, {rate('longwave_request_duration_seconds_bucket', 'le')})"),
        number("Tokens", "Tokens computed a second, without padding.", TOKENS_PER_SECOND,
               rate("longwave_tokens_total")),
        number("In flight", "Requests received and not yet answered.", COUNT,
               f"sum (longwave_requests_in_flight{{{PROCESS}}})"),
        number("Servers up", "Servers that answered the last scrape.", COUNT,
               f'sum (up{{job="longwave",{PROCESS}}})'),
    ]


def traffic() -> list:
    failed = MODEL + ',code!="OK"'
    return [
        lines("Requests by RPC and code", "Finished requests a second.", REQUESTS,
              query(rate("longwave_requests_total", "rpc, code") + " > 0", "{{rpc}} {{code}}")),
        lines("Errors by code", "Requests a second that did not end with OK; the status of an RPC.", REQUESTS,
              query(rate("longwave_requests_total", "rpc, code", failed) + " > 0", "{{rpc}} {{code}}"))
        .no_value("No errors"),
        lines("Inputs by code", "Single inputs a second: one bad input of a request has its own status.",
              INPUTS_PER_SECOND, query(rate("longwave_inputs_total", "model, code") + " > 0", "{{model}} {{code}}")),
    ]


def latency() -> list:
    return [
        quantiles("Total latency", "From the arrival of a request to its answer, by RPC.", SECONDS,
                  "longwave_request_duration_seconds", "rpc", width=2),
        latency_map(),
        quantiles("Total latency by model", "From the arrival of a request to its answer.", SECONDS,
                  "longwave_request_duration_seconds"),
        quantiles("Queue", "Waiting for a batch. Grows first when there is more traffic than capacity.", SECONDS,
                  "longwave_queue_duration_seconds"),
        quantiles("Tokenisation", "Turning text or bytes into token ids.", SECONDS,
                  "longwave_tokenize_duration_seconds"),
        quantiles("Compute", "The model's forward pass of a batch.", SECONDS, "longwave_compute_duration_seconds"),
    ]


def batching() -> list:
    computed, padded = rate("longwave_tokens_total", "model"), rate("longwave_padded_tokens_total", "model")
    return [
        lines("Tokens", "Tokens computed a second, and those that are padding.", TOKENS_PER_SECOND,
              query(computed, "{{model}}"), query(padded, "padding {{model}}")),
        lines("Batch size", "Sequences in a batch: mean and 95th percentile.", COUNT,
              query(f"{rate('longwave_batch_size_sum', 'model')} / {rate('longwave_batch_size_count', 'model')}",
                    "mean {{model}}"),
              query(quantile(0.95, "longwave_batch_size", "model"), "p95 {{model}}")),
        lines("Batch tokens", "Tokens in a batch: mean and 95th percentile.", TOKENS,
              query(f"{rate('longwave_batch_tokens_sum', 'model')} / {rate('longwave_batch_tokens_count', 'model')}",
                    "mean {{model}}"),
              query(quantile(0.95, "longwave_batch_tokens", "model"), "p95 {{model}}")),
        lines("Batches by lane", "Batches a second: short inputs and long ones have a lane each.", BATCHES,
              query(rate("longwave_batches_total", "model, lane"), "{{lane}} {{model}}")),
        lines("Gaps", "Short batches a second that were computed while a long one waited.", BATCHES,
              query(rate("longwave_yields_total", "model"), "{{model}}")),
        lines("Batches split", "Batches a second that failed as a whole, mostly for want of the device's memory, and "
              "were computed again in parts.", BATCHES,
              query(rate("longwave_batch_splits_total", "model"), "{{model}}")),
        lines("Attention", "Heads that each algorithm computes at each length, over all layers, as planned at start-up.",
              COUNT, query(f"sum by (model, tokens, algorithm) (longwave_model_attention_heads{{{MODEL}}})",
                           "{{algorithm}} {{tokens}} {{model}}")),
        lines("Result cache", "Inputs a second that were answered from the cache of results, and those that it was asked "
              "for in vain. Empty where the cache is off.", INPUTS_PER_SECOND,
              query(rate("longwave_result_cache_hits_total", "model"), "hits {{model}}"),
              query(rate("longwave_result_cache_misses_total", "model"), "misses {{model}}")),
        lines("Result cache size", "Memory of the results that are kept.", BYTES,
              query(f"sum by (instance) (longwave_result_cache_bytes{{{PROCESS}}})", "{{instance}}")),
    ]


def saturation() -> list:
    return [
        lines("Queued tokens", "Admitted and not yet in a batch; at the limit requests are refused.", TOKENS,
              query(f"sum by (model) (longwave_queue_tokens{{{MODEL}}})", "{{model}}")),
        lines("Queued inputs", "Admitted and not yet in a batch.", COUNT,
              query(f"sum by (model) (longwave_queue_inputs{{{MODEL}}})", "{{model}}")),
        lines("In flight", "Requests received and not yet answered.", COUNT,
              query(f"sum by (instance) (longwave_requests_in_flight{{{PROCESS}}})", "{{instance}}")),
        lines("Refusals by reason", "Requests, or inputs of a stream, that the queue did not let in.", REQUESTS,
              query(rate("longwave_refusals_total", "model, reason") + " > 0", "{{reason}} {{model}}"))
        .no_value("No refusals"),
        lines("Inputs for nobody", "Inputs a second that left the queue without being computed, and those that were "
              "computed although nobody waited any more.", INPUTS_PER_SECOND,
              query(rate("longwave_dropped_inputs_total", "model, reason") + " > 0", "{{reason}} {{model}}"),
              query(rate("longwave_wasted_inputs_total", "model") + " > 0", "computed {{model}}"))
        .no_value("None"),
        lines("Device memory", "Memory that the running batches have reserved, and that they may.", BYTES,
              query(f"sum by (instance, device) (longwave_memory_reserved_bytes{{{PROCESS}}})",
                    "reserved {{instance}} {{device}}"),
              query(f"sum by (instance, device) (longwave_memory_budget_bytes{{{PROCESS}}})",
                    "budget {{instance}} {{device}}")),
    ]


def build() -> str:
    board = (dashboards.Dashboard("Longwave latency").uid("longwave").tags(["longwave"])
             .description("Latency, traffic, batching and saturation of Longwave inference servers.")
             .refresh("10s").time("now-30m", "now").timezone("browser").readonly()
             .tooltip(DashboardCursorSync.CROSSHAIR)
             .with_variable(dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus"))
             .with_variable(variable("instance", "Instance", "label_values(longwave_build_info, instance)"))
             .with_variable(variable("model", "Model",
                                     'label_values(longwave_model_info{instance=~"$instance"}, model)')))
    ids = itertools.count(1)
    for title, panels in (("Overview", overview()), ("Traffic", traffic()), ("Latency", latency()),
                          ("Batching", batching()), ("Saturation", saturation())):
        board.with_row(dashboards.Row(title).id(next(ids)))
        for panel in panels:
            board.with_panel(panel.id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    if not parser.parse_args().check:
        OUTPUT.write_text(build(), encoding="utf-8")
        return 0
    if OUTPUT.read_text(encoding="utf-8") != build():
        print(f"{OUTPUT} differs from what {__file__} writes", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
