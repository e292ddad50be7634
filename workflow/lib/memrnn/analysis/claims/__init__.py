"""The paper's claims, judged by rules that were fixed before the results were looked at (docs/claims.md).

The rule of each claim is a module: its statement, its `rule`, from an interval to a verdict, and `rows`, from the
evidence to rows of the table. `python -m memrnn.analysis.claims results/<run>` prints a finished run's verdicts. Needs
no torch.
"""

from memrnn.analysis.claims.estimates import Evidence
from memrnn.analysis.claims.judge import CLAIMS, judge
from memrnn.analysis.claims.numbers import numbers
from memrnn.analysis.claims.summary import summary

__all__ = ["CLAIMS", "Evidence", "judge", "numbers", "summary"]
