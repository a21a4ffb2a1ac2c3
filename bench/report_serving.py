"""Tables and plots of the server's measurements, for bench/report.py."""

import pathlib

from report_text import milliseconds, pyplot, times

SCENARIOS = {
    "echo_1": "bare gRPC echo, 1 caller",
    "echo_16": "bare gRPC echo, 16 callers",
    "null_1": "model that computes nothing, 1 caller",
    "null_16": "model that computes nothing, 16 callers",
    "null_streams": "the same, 1,000 streams, 4,000 a second",
    "slow_capacity": "model of 20 us a token, 64 callers",
    "slow_overload": "the same asked for 3x its capacity, deadline 500 ms",
    "real_capacity": "file-type, 512 tokens, 32 callers",
    "real_ragged": "file-type, 64 to 4096 tokens, 32 callers",
    "real_at_50%": "file-type, 512 tokens, half of the rate of 32 callers",
    "real_at_50%_long": "the same beside one caller of 65,536 tokens",
    "real_overload": "file-type asked for 3x its capacity, deadline 500 ms",
    "real_invariant": "`--batch_invariant`: 512 tokens, 32 callers",
    "real_invariant_ragged": "`--batch_invariant`: 64 to 4096 tokens, 32 callers",
}


# Fewer answers than these have no rate and no quantiles.
FEW = 20


def scenario_table(runs: dict, scenarios: dict[str, str]) -> list[str]:
    """Scenarios down: what was answered, in time, latency quantiles, refusals. Of few answers their number and the slowest."""
    heads = ["scenario", "answered/s", "in time", "p50", "p95", "p99", "p99.9", "refused", "their p99", "their p99.9"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, title in scenarios.items():
        for index, row in enumerate(runs[name]["classes"]):
            answered, refused = row["answered_ms"], row["refused_ms"]
            rate, times_ms = f"{row['answered_per_s']:,.1f}", [duration(answered.get(q)) for q in ("p50", "p95", "p99", "p99_9")]
            if answered["count"] < FEW:
                rate, times_ms = f"{answered['count']} in {runs[name]['seconds']:g} s", ["-", "-", "-", f"max {duration(answered.get('max'))}"]
            in_time = f"{row['accepted_in_deadline']:.1%}" if "accepted_in_deadline" in row else "-"
            cells = [rate, in_time, *times_ms, f"{refused['count']:,}", duration(refused.get("p99")), duration(refused.get("p99_9"))]
            lines.append(f"| {title if index == 0 else '&nbsp;&nbsp;the long one'} | " + " | ".join(cells) + " |")
    return lines


# What the server was to stay below: added to a bare echo, and until a request is refused.
ADDED_US, REFUSAL_MS = 60, 5


def reached(value: float, limit: float) -> str:
    return "reached" if value < limit else "missed"


def server_adds(first: dict) -> str:
    added = 1e3 * (first["null_1"]["answered_ms"]["p50"] - first["echo_1"]["answered_ms"]["p50"])
    return f"- The server adds {added:.0f} us to a bare echo of the same message, in the median; at most {ADDED_US} were aimed at: {reached(added, ADDED_US)}."


def refusal_times(row: dict) -> str:
    """How soon an overloaded server says no."""
    refused = row["refused_ms"]
    parts = [f"{name} {duration(refused[q])} ({reached(refused[q], REFUSAL_MS)})" for q, name in (("p99", "p99"), ("p99_9", "p99.9"), ("max", "the slowest"))]
    return f"- Less than {REFUSAL_MS} ms to a refusal were aimed at: {', '.join(parts)}."


def invariance_cost(first: dict, prefix: str, equal: str) -> list[str]:
    """What answers equal to the bit cost, where it was measured."""
    if f"{prefix}_invariant" not in first:
        return []
    kept = {name: first[f"{prefix}_invariant{suffix}"]["tokens_per_s"] / first[name]["tokens_per_s"] for name, suffix in ((equal, ""), (f"{prefix}_ragged", "_ragged"))}
    return [f"- With `--batch_invariant` {kept[equal]:.0%} of the tokens a second are left at 512 tokens, {kept[f'{prefix}_ragged']:.0%} with ragged lengths."]


def not_reached(scenarios: dict[str, str], runs: dict) -> list[str]:
    missing = [text for name, text in scenarios.items() if name not in runs]
    return [f"- Not reached in the time that this run had: {'; '.join(missing)}."] if missing else []


def cut_of(bare: dict) -> str:
    """How the batches without a server were cut. Those of a run that names no time were cut by tokens only, unlike the server's."""
    size = f"batches of {bare['batch_p50_ms']:.0f} ms in the median without the server"
    return f"; {size}, cut as it cuts them" if "max_batch_time" in bare else f"; {size}, cut at {bare['max_batch_tokens']:,} tokens only and not, as the server's, at a time, too"


def serving_table(data: dict) -> str:
    """The scenarios, then what follows from them."""
    runs = data["runs"]
    scenarios = {name: text for name, text in SCENARIOS.items() if name in runs}
    lines = scenario_table(runs, scenarios)
    first = {name: runs[name]["classes"][0] for name in scenarios}
    ratio = {name: first[name]["tokens_per_s"] / runs[bare]["tokens_per_s"] for name, bare in (("real_capacity", "runtime_512"), ("real_ragged", "runtime_ragged"))}
    mean = first["real_ragged"]["tokens_per_s"] / first["real_ragged"]["answered_per_s"]
    bare_mean = runs["runtime_ragged"]["tokens_per_s"] / runs["runtime_ragged"]["answered_per_s"]
    lines += [
        "",
        server_adds(first),
        f"- Tokens a second against `model/runtime` driven directly: {ratio['real_capacity']:.0%} at 512 tokens, {ratio['real_ragged']:.0%} with ragged lengths "
        f"(the same {first['real_ragged']['pool']} lengths; {mean:.0f} and {bare_mean:.0f} tokens in the mean){cut_of(runs['runtime_512'])}.",
    ]
    if "slow_overload" in first:
        lines.append(f"- A slow model asked for three times its capacity answers {first['slow_overload']['goodput_per_s'] / first['slow_capacity']['answered_per_s']:.0%} of it in time.")
    if "real_overload" in first:
        lines.append(f"- So does file-type {first['real_overload']['goodput_per_s'] / first['real_capacity']['answered_per_s']:.0%}; of what was let in {first['real_overload']['accepted_in_deadline']:.1%} was in time.")
        lines.append(refusal_times(first["real_overload"]))
    if "real_at_50%_long" in first:
        lines = ["![latency over load, with and without a long request](images/serving.svg)", "", *lines]
        slower = {q: first["real_at_50%_long"]["answered_ms"][q] / first["real_at_50%"]["answered_ms"][q] for q in ("p50", "p99")}
        lines.append(f"- A long request always in flight makes the p50 of short ones {times(slower['p50'])}, their p99 {times(slower['p99'])} what it is without.")
    lines += invariance_cost(first, "real", "real_capacity")
    if "null_streams" in first:
        memory = runs["null_streams"]["server_memory_bytes"]
        lines.append(f"- Over {memory['samples']} seconds of 1,000 streams the server's memory stays within {memory['max'] / memory['min'] - 1:.2%}; of every answer, none is wrong, lost or repeated.")
    lines += not_reached(SCENARIOS, runs)
    lines += ["", f"{data['machine']['processor']}, {data['machine']['cores']} cores that load and server share. {data.get('note', '')}".rstrip()]
    return "\n".join(lines)


def soak_text(data: dict) -> str:
    """What a long run at a constant load came to."""
    run = data["runs"]["soak"]
    row, memory = run["classes"][0], run["server_memory_bytes"]
    capacity = data["runs"]["soak_capacity"]["classes"][0]["answered_per_s"]
    mistakes = row["wrong"] + row["lost"] + row["duplicated"]
    return (
        f"{run['seconds'] / 60:.0f} minutes, {row['streams']:,} streams, {row['rate']:,.0f} requests a second, {row['rate'] / capacity:.0%} of the "
        f"{capacity:,.0f} that a model of 2 us a token answers: {row['sent']:,} requests of 512 tokens, each answer checked, {mistakes} wrong, lost or repeated, "
        f"{row['refused_ms']['count']} refused; p50 {duration(row['answered_ms']['p50'])}, p99 {duration(row['answered_ms']['p99'])}, p99.9 "
        f"{duration(row['answered_ms']['p99_9'])}. The server's memory, sampled each second, stays between {memory['min'] / 2**20:.1f} and "
        f"{memory['max'] / 2**20:.1f} MiB: within {memory['max'] / memory['min'] - 1:.1%}{memory_growth(memory)}.{of_commit(run)}"
    )


def memory_growth(memory: dict) -> str:
    """From the beginning to the end, where the medians were kept."""
    if "last_median" not in memory:
        return ""
    seconds, growth = memory["window_samples"], memory["last_median"] / memory["first_median"] - 1
    return f"; its median over the last {seconds} s is {growth:+.2%} of that over the first {seconds} s after the warm-up"


def of_commit(run: dict) -> str:
    return f" Commit {run['commit']}." if "commit" in run else ""


def duration(ms: float | None) -> str:
    if ms is None:
        return "-"
    return f"{1e3 * ms:.0f} us" if ms < 1 else f"{milliseconds(ms)} ms"


GPU_SCENARIOS = {
    "echo_1": "bare gRPC echo, 1 caller",
    "echo_paced": "bare gRPC echo, 1,000 requests a second",
    "echo_16": "bare gRPC echo, 16 callers",
    "null_1": "model that computes nothing, 1 caller",
    "null_16": "model that computes nothing, 16 callers",
    "bert_1": "512 tokens, 1 caller",
    "bert_1_spin": "the same, the caller spins while it waits",
    "bert_64": "512 tokens, 64 callers",
    "bert_ragged": "64 to 4096 tokens, 32 callers",
    "bert_16k": "16,384 tokens, 4 callers",
    "bert_at_50%": "512 tokens, half of the rate of 64 callers",
    "bert_at_50%_long": "the same beside one caller of 1,048,576 tokens",
    "bert_overload": "512 tokens, 3x the rate of 64 callers, deadline 250 ms",
    "bert_invariant": "`--batch_invariant`: 512 tokens, 64 callers",
    "bert_invariant_ragged": "`--batch_invariant`: 64 to 4096 tokens, 32 callers",
}


def under_load(run: dict) -> float:
    """Mean tokens of a batch, but for those of the first requests, each of which was asked alone."""
    row, batches = run["classes"][0], run["batches"]
    alone = row["pool"]
    tokens = batches["mean_tokens"] * batches["count"] - alone * row["tokens_per_s"] / row["answered_per_s"]
    return tokens / (batches["count"] - alone)


def kept_of(repeats: list) -> str:
    """Which of the runs Bench.keep_medians() has kept, where it is not the median."""
    return "; the worse of two is shown" if len(repeats) == 2 else ""


def serving_gpu_table(data: dict) -> str:
    """The scenarios, then what follows from them."""
    runs = data["runs"]
    scenarios = {name: text for name, text in GPU_SCENARIOS.items() if name in runs}
    first = {name: runs[name]["classes"][0] for name in scenarios}
    ratio = {name: first[name]["tokens_per_s"] / runs[bare]["tokens_per_s"] for name, bare in (("bert_64", "runtime_512"), ("bert_ragged", "runtime_ragged"))}
    size = {name: under_load(runs[name]) for name in ratio}
    padded = sum(run["batches"]["padded_tokens"] for run in runs.values() if "batches" in run)
    lines = [
        *scenario_table(runs, scenarios),
        "",
        f"- Tokens a second against `model/runtime` driven directly: {ratio['bert_64']:.0%} at 512 tokens, {ratio['bert_ragged']:.0%} with ragged lengths. "
        f"Batches of {size['bert_64']:,.0f} and {size['bert_ragged']:,.0f} tokens in the mean; {padded:.0f} tokens of padding.",
        f"- Ragged requests had {first['bert_ragged']['tokens_per_s'] / first['bert_ragged']['answered_per_s']:.0f} tokens in the mean: "
        f"{first['bert_ragged']['tokens_per_s'] / 965:,.0f}/s of the distribution's 965.",
    ]
    if "null_1" in first and "echo_1" in first:
        lines.append(server_adds(first))
    if "echo_paced" in first and "p50_ms_of_runs" in runs.get("bert_1", {}):
        lines.append(
            f"- Of one caller's time the model takes {duration(first['bert_1']['server_compute_ms']['p50'])}; a bare echo at such a pace takes {duration(first['echo_paced']['answered_ms']['p50'])}, "
            f"more than one after the other does, since cores sleep in between (p50 of one caller's runs: {', '.join(duration(ms) for ms in runs['bert_1']['p50_ms_of_runs'])}; "
            f"of the empty model's with 16: {', '.join(duration(ms) for ms in runs['null_16']['p50_ms_of_runs'])}).")
    if "bert_at_50%_long" in first:
        slower = {q: first["bert_at_50%_long"]["answered_ms"][q] / first["bert_at_50%"]["answered_ms"][q] for q in ("p50", "p99")}
        lines = ["![latency over load, with and without a long request](images/serving_gpu.svg)", "", *lines]
        lines.append(
            f"- A request of a million tokens always in flight makes the p50 of short ones {times(slower['p50'])}, their p99 {times(slower['p99'])} what it is without "
            f"(p99 of the runs: {', '.join(f'{ms:.1f}' for ms in runs['bert_at_50%']['p99_ms_of_runs'])} ms, with it {', '.join(f'{ms:.1f}' for ms in runs['bert_at_50%_long']['p99_ms_of_runs'])} ms{kept_of(runs['bert_at_50%']['p99_ms_of_runs'])}).")
    if "bert_overload" in first:
        over = first["bert_overload"]
        lines.append(f"- At three times the capacity {over['goodput_per_s'] / first['bert_64']['answered_per_s']:.0%} of it is answered in time; of what was let in {over['accepted_in_deadline']:.1%}.")
        lines.append(refusal_times(over))
    lines += invariance_cost(first, "bert", "bert_64")
    lines += not_reached(GPU_SCENARIOS, runs)
    lines += ["", f"{data['machine']['gpu'].split(',')[0]}; {data['machine']['processor']}, {data['machine']['cores']} cores that load and server share. {data.get('note', '')}".rstrip()]
    return "\n".join(lines)


def load_curve(runs: dict, prefix: str, capacity: str, long: str, title: str, lowest_ms: float, path: pathlib.Path) -> None:
    """Latency of short requests over the load, with and without a long one beside them."""
    figure, axis = pyplot().subplots(figsize=(6, 4))
    for suffix, label, colour in (("", "alone", "C0"), ("_long", f"beside {long} tokens", "C1")):
        rows = [run["classes"][0] for name, run in runs.items() if name.startswith(f"{prefix}_at_") and name.endswith("_long") == bool(suffix)]
        rows.sort(key=lambda row: row["answered_per_s"])
        for quantile, style in (("p50", "-"), ("p99", "--")):
            axis.plot([row["answered_per_s"] for row in rows], [row["answered_ms"][quantile] for row in rows], style, marker="o", color=colour, label=f"{quantile}, {label}")
    axis.axvline(runs[capacity]["classes"][0]["answered_per_s"], color="grey", linewidth=1, label=f"{runs[capacity]['classes'][0]['concurrency']} callers that wait")
    axis.set(yscale="log", ylim=(lowest_ms, None), xlim=(0, None), xlabel="requests/s", ylabel="ms", title=title)
    axis.grid(True, alpha=0.3)
    axis.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def checkpoint_gaps_table(data: dict) -> str:
    """Longest gap of each algorithm, as a part of the fastest pass over 512 tokens that was measured of the model, and that of the first call."""
    passes: dict[str, float] = {}
    for row in data["gaps"]:
        passes[row["model"]] = min(row["pass_512_ms"], passes.get(row["model"], row["pass_512_ms"]))
    lines = ["| model | algorithm | tokens | longest gap | of a pass over 512 tokens | in the first call |", "|---|---|---|---|---|---|"]
    for row in data["gaps"]:
        cells = [f"{row['tokens']:,}", f"{row['longest_gap_ms']:.1f} ms", f"{row['longest_gap_ms'] / passes[row['model']]:.2f}", f"{row['first_call_ms']:.1f} ms"]
        lines.append(f"| {row['model']} | {row['algorithm']} | {' | '.join(cells)} |")
    largest = max(row["longest_gap_ms"] / passes[row["model"]] for row in data["gaps"])
    lines += ["", f"A pass over 512 tokens, the fastest measured: {', '.join(f'{name} {ms:.1f} ms' for name, ms in passes.items())}. Largest: {largest:.2f} of it."]
    return "\n".join(lines)
