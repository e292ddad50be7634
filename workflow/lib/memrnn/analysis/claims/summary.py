"""The claims table as text for a terminal."""

from __future__ import annotations

import textwrap

import pandas as pd

from memrnn.analysis.claims.verdict import count

WIDTH = 120  # columns of the printed summary


def summary(claims: pd.DataFrame) -> str:
    """The claims table as text for a terminal, at most WIDTH columns wide: primary measures first, the rest after.

    Args:
        claims: what `judge` returned, or the same read back from its file.
    """
    lines = ["Claims: value [interval] of every panel; n = networks, or pairs of networks where two are compared", ""]
    panel_width = claims.panel.dropna().str.len().max() if claims.panel.notna().any() else 0
    for claim, rows in claims.groupby("claim", sort=False):
        nobody = not rows.networks.any() and rows.left_out.any()
        lines.append(f"{claim:<3}  {count(rows).upper()}" + (": no network learned the task" if nobody else ""))
        lines += textwrap.wrap(rows.statement.iloc[0], WIDTH, initial_indent=" " * 5, subsequent_indent=" " * 5)
        listed = rows[:0] if nobody else rows
        for (measure, primary), panels in listed.groupby(["measure", "primary"], sort=False):
            lines.append(f"    {measure}" + (", primary" if primary else ""))
            if panels.panel.notna().any() and panels.value.isna().all():
                most = f"n = {panels.networks.max()} at most, {panels.left_out.max()} left out"
                lines.append(f"      not computable in any panel: {most}")
                continue
            for row in panels[panels.panel.notna()].itertuples():
                between = "" if pd.isna(row.low) else f" [{row.low:6.3f}, {row.high:6.3f}]"
                form = "6.3f" if between else "6.2g"  # speeds span decades
                found = "not computable" if pd.isna(row.value) else f"{row.value:{form}}{between}"
                verdict = row.verdict if primary else ""
                left_out = f", {row.left_out} left out" if row.left_out else ""
                lines.append(
                    f"      {row.panel:<{panel_width}}  {found:<23}  {verdict:<12}  n = {row.networks}{left_out}"
                )
        lines.append("")
    return "\n".join(lines)
