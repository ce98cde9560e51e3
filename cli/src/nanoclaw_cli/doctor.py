"""`ncl doctor`: finds problems and names their remedies.

It works without a host and with broken plugins.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import click
from attrs import asdict, evolve
from nanoclaw_client.output import print_json
from nanoclaw_client.terminal_text import terminal_line
from nanoclaw_wire.answer_frames import data_frame

from nanoclaw_cli.colours import coloured
from nanoclaw_cli.findings import Finding, Health
from nanoclaw_cli.invocation import Invocation
from nanoclaw_cli.log_setup import silence_logs


@click.command()
@click.pass_obj
def doctor(invocation: Invocation) -> int:
    """Find problems of an instance, and show how to fix them.

    Exits 1 if there is a problem. Warnings do not count.
    """
    from nanoclaw_cli.checks import run_checks

    silence_logs()  # the findings report each problem once
    findings = asyncio.run(run_checks(invocation.home, invocation.environment))
    if invocation.as_json:
        print_json(data_frame([_record(finding) for finding in findings]))
    else:
        print(_report(findings, invocation.environment))
    return 1 if any(finding.state is Health.PROBLEM for finding in findings) else 0


def _record(finding: Finding) -> dict[str, str]:
    return asdict(finding) | {"state": finding.state.value}


def _safe(finding: Finding) -> Finding:
    area, name, detail, remedy = map(terminal_line, (finding.area, finding.name, finding.detail, finding.remedy))
    return evolve(finding, area=area, name=name, detail=detail, remedy=remedy)


def _report(findings: Sequence[Finding], environment: Mapping[str, str]) -> str:
    """Format findings as lines. Their texts may come from settings, tables and plugins; only we may use colours."""
    findings = [_safe(finding) for finding in findings]
    area_width = max((len(finding.area) for finding in findings), default=0)
    name_width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        padding = " " * (len(Health.PROBLEM.value) - len(finding.state.value))
        state = coloured(finding.state.value, sys.stdout, environment) + padding
        lines.append(f"{state}  {finding.area:<{area_width}}  {finding.name:<{name_width}}  {finding.detail}".rstrip())
        if finding.remedy and finding.state is not Health.OK:
            lines.append(f"{'':9}→ {finding.remedy}")
    counts = Counter(finding.state for finding in findings)
    lines.append("")
    lines.append(_summary(counts[Health.PROBLEM], counts[Health.WARNING]))
    return "\n".join(lines)


def _summary(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "all is well"
    return ", ".join(
        f"{number} {word}{'' if number == 1 else 's'}"
        for number, word in ((problems, "problem"), (warnings, "warning"))
        if number
    )
