"""The claims table as text for a terminal."""

from __future__ import annotations

import textwrap

import pandas as pd

from memrnn.analysis.claims.estimates import DESCRIPTIVE
from memrnn.analysis.claims.verdict import NOTHING_JUDGED

WIDTH = 120  # columns of the printed summary


def summary(claims: pd.DataFrame) -> str:
    """The claims table as text for a terminal, at most WIDTH columns wide.

    A claim none of whose panels could be judged is NOT JUDGED there, though the table's verdict is `not supported`.

    Args:
        claims: what `judge` returned, or the same read back from its file.
    """
    lines = ["Claims: value [interval] of every panel; n = networks, or pairs of networks where two are compared", ""]
    panel_width = claims.panel.dropna().str.len().max() if claims.panel.notna().any() else 0
    for claim, rows in claims.groupby("claim"):
        first = rows.iloc[0]
        verdict_text = first.verdict if rows.holds.notna().any() else "not judged"
        indent = f"{claim}  {verdict_text.upper():<13}  "
        statement = first.statement
        if not rows.networks.any() and rows.left_out.any():
            statement = statement.replace(NOTHING_JUDGED, " (Nothing could be judged: no network learned the task.)")
        lines += textwrap.wrap(indent + statement, WIDTH, subsequent_indent=" " * len(indent))
        for measure, panels in rows.groupby("measure", sort=False):
            side = panels.side.iloc[0]
            lines.append(f"    {measure}" + ("" if pd.isna(side) else f"; side: {side}"))
            if panels.panel.notna().any() and panels.value.isna().all():
                most = f"n = {panels.networks.max()} at most, {panels.left_out.max()} left out"
                lines.append(f"      not computable in any panel: {most}")
                continue
            for row in panels[panels.panel.notna()].itertuples():
                between = "" if pd.isna(row.low) else f" [{row.low:6.3f}, {row.high:6.3f}]"
                form = "6.2g" if between == "" and side == DESCRIPTIVE else "6.3f"  # speeds span decades
                numbers_text = f"{row.value:{form}}{between}"
                held = "" if pd.isna(row.holds) else "holds" if row.holds else "fails"
                text = "not computable" if pd.isna(row.value) else numbers_text
                left_out = f", {row.left_out} left out" if row.left_out else ""
                lines.append(f"      {row.panel:<{panel_width}}  {text:<23}  {held:<5}  n = {row.networks}{left_out}")
        lines.append("")
    return "\n".join(lines)
