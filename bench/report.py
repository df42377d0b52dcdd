"""From samples to a table: medians, percentiles, ratios, and what each was promised to be."""

import json
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `ours` or `theirs` is None where `reason` says why."""

    what: str
    unit: str
    ours: float | None
    peer: str = ""
    theirs: float | None = None
    target: str = ""  # "≥ 7" or "≤ 0.6": of the ratio, or of `ours` where there is no peer
    reason: str = ""

    @property
    def ratio(self) -> float | None:
        return None if self.ours is None or not self.theirs else self.ours / self.theirs

    @property
    def verdict(self) -> str:
        if self.reason:
            return f"{NOT_MEASURED}: {self.reason}"
        value = self.ratio if self.peer else self.ours
        if not self.target or value is None:
            return ""
        sign, limit = self.target.split()
        met = value >= float(limit) if sign == "≥" else value <= float(limit)
        return "met" if met else "**missed**"


def percentile(samples: Sequence[float], percent: float) -> float:
    """Nearest rank: the smallest sample that is not below `percent` of all."""
    ranked = sorted(samples)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def figure(value: float | None, unit: str) -> str:
    """Three significant digits, thousands apart."""
    if value is None:
        return "-"
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def table(rows: Sequence[Row], machine: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    lines = [
        "# Benchmark results",
        "",
        "Made by `make bench`; what each row measures is in [bench/README.md](../README.md).",
        "Only the ratios carry over to other machines.",
        "",
        *(f"- {name}: {value}" for name, value in {**machine, **settings}.items()),
        "",
        "| What | anyfc | Measured against | It has | Ratio | Target | |",
        "| --- | ---: | --- | ---: | ---: | --- | --- |",
    ]
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        cells = (row.what, figure(row.ours, row.unit), row.peer, figure(row.theirs, row.unit))
        lines.append(f"| {' | '.join(cells)} | {ratio} | {row.target} | {row.verdict} |")
    return "\n".join(lines) + "\n"


def describe_machine() -> dict[str, str]:
    """What decides the figures; no name of the machine and no paths."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    release = re.match(r"\d+\.\d+", platform.release())
    return {
        "machine": f"{os.cpu_count()} x {model[1] if model else platform.machine()}, "
        f"{memory:.0f} GiB",
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, "
        f"Linux {release[0] if release else ''}",
        "python": platform.python_version(),
    }


def write(
    rows: Sequence[Row], machine: Mapping[str, str], settings: Mapping[str, Any], samples: Any
) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "table.md").write_text(table(rows, machine, settings))
    whole = {
        "machine": machine,
        "settings": settings,
        "rows": [{**asdict(row), "ratio": row.ratio} for row in rows],
        "samples": samples,
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    (RESULTS / "samples.json").write_text(text + "\n")
