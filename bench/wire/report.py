"""Samples in, a Markdown table, a table of ratios and a CSV out. Pure but for the CSV file."""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from modes import Mode, Sample


@dataclass(frozen=True)
class Ratio:
    """`above` / `below`, two modes of one run, must reach `bar`."""

    what: str
    above: str
    below: str
    bar: float


RATIOS = [
    Ratio("echo / one-by-one", "echo", "one-by-one", 1.4),
    Ratio("rewrite of known flows / echo", "limpet-known", "echo", 0.90),
    *(
        Ratio(f"new flows, {count} endpoints: limpet / kernel ({backend})", f"limpet-new-{count}",
              f"kernel-{backend}-new-{count}", bar)
        for count, bar in ((4, 1.3), (64, 3), (512, 50))
        for backend in ("nft", "legacy")
    ),
    Ratio("TCP bulk: limpet / kernel NAT", "limpet-bulk", "kernel-bulk", 0.55),
]

Results = dict[str, list[Sample]]  # by mode, one a round


def _rate(mode: Mode, value: float) -> str:
    return f"{value / 1e9:.2f} Gbit/s" if mode.traffic == "bulk" else f"{value:,.0f} pps"


def results_table(modes: list[Mode], results: Results) -> str:
    lines = [
        "| mode | median | min – max | CPU ns/packet (bulk: /KiB) | packets a sample | lost | queue drops | conntrack failures |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for mode in modes:
        samples = results.get(mode.name, [])
        if not samples:
            continue
        rates = [sample.rate for sample in samples]
        packets = "" if mode.traffic == "bulk" else f"{median(sample.sent for sample in samples):,.0f}"
        lines.append(
            f"| {mode.name} | {_rate(mode, median(rates))} | {_rate(mode, min(rates))} – {_rate(mode, max(rates))} "
            f"| {median(sample.cpu_ns for sample in samples):,.0f} | {packets} | {sum(sample.lost for sample in samples)} "
            f"| {sum(sample.queue_drops for sample in samples)} | {sum(sample.conntrack_failures for sample in samples)} |"
        )
    return "\n".join(lines)


def ratio(results: Results, above: str, below: str) -> float | None:
    """Of the medians. None if either was not measured."""
    if not results.get(above) or not results.get(below):
        return None
    return median(s.rate for s in results[above]) / median(s.rate for s in results[below])


def round_ratios(results: Results, above: str, below: str) -> list[float]:
    """Round by round: how steady the ratio is."""
    return [a.rate / b.rate for a, b in zip(results[above], results[below])]


def ratios_table(results: Results) -> tuple[str, int]:
    """The table, and how many ratios are NOT MET."""
    lines = ["| ratio of medians | bar | measured | single rounds | CPU time, inverse | |", "|---|--:|--:|--:|--:|---|"]
    missed = 0
    for entry in RATIOS:
        value = ratio(results, entry.above, entry.below)
        if value is None:
            lines.append(f"| {entry.what} | {entry.bar:g} | | | | not measured |")
            continue
        met = value >= entry.bar
        missed += not met
        rounds = round_ratios(results, entry.above, entry.below)
        cpu = median(s.cpu_ns for s in results[entry.below]) / median(s.cpu_ns for s in results[entry.above])
        lines.append(f"| {entry.what} | {entry.bar:g} | {value:.2f} | {min(rounds):.2f} – {max(rounds):.2f} | {cpu:.2f} "
                     f"| {'met' if met else 'NOT MET'} |")
    return "\n".join(lines), missed


def write_csv(path: Path, results: Results):
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, ["mode", "round", *Sample.__dataclass_fields__])
        writer.writeheader()
        for name, samples in results.items():
            writer.writerows({"mode": name, "round": i, **asdict(sample)} for i, sample in enumerate(samples, 1))
