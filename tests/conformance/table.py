"""The compatibility page, made from the cases. Run as a program, it writes the page."""

from collections import defaultdict
from pathlib import Path

from conformance.case import CASES, ROOT, SECTIONS, Case, read_cases, read_reasons

PAGE = ROOT / "docs" / "reference" / "compatibility.md"
HEAD = """\
# Compatibility

What functions and their callers can rely on, by number of the statement. Every row without a reason
is a test that runs against a real server. This page is generated: change the cases in
`tests/conformance/cases` or the reasons in `tests/conformance/not_covered.toml`, then run
`python -m conformance.table` in the folder `tests`.

How well a behaviour is known: *documented* by the cloud's own pages; *observed* in answers and
runtimes of the cloud; *assumed* where both say nothing and a choice had to be made.
"""


def build_page() -> str:
    cases: defaultdict[int, list[Case]] = defaultdict(list)
    for case in read_cases():
        for number in case.statements:
            cases[number].append(case)
    reasons = read_reasons()
    lines = [HEAD]
    for title, numbers in SECTIONS.items():
        covered = sum(number in cases for number in numbers)
        lines += [
            f"## {title}\n",
            f"{covered} of {len(numbers)} statements.\n",
            "| Statement | What anyfc does | How well known | Case |",
            "| --- | --- | --- | --- |",
        ]
        for number in numbers:
            lines += [row(number, case) for case in cases[number]]
            if number in reasons:
                lines.append(f"| {number} | *not yet:* {cell(reasons[number])} | | |")
        lines.append("")
    return "\n".join(lines)


def row(number: int, case: Case) -> str:
    path = case.scripted.partition("::")[0] or str(case.path.relative_to(ROOT))
    name = case.scripted.partition("::")[2] or case.path.relative_to(CASES).as_posix()
    link = f"[{name}](../../{path})"
    return f"| {number} | {cell(case.title)} | {case.known} | {link} |"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def write(page: Path = PAGE) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(build_page())


if __name__ == "__main__":
    write()
