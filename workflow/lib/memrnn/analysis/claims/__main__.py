"""Print a finished run's verdicts: python -m memrnn.analysis.claims results/<run>."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from memrnn.analysis.claims import CLAIMS, summary
from memrnn.core.files import load_table


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a finished run's verdicts and where its other results lie."""
    parser = argparse.ArgumentParser(prog="python -m memrnn.analysis.claims", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of the run, results/<run>")
    run = parser.parse_args(arguments).run
    path = run / "tables" / "claims.csv"
    try:
        claims = load_table(path, "claims", sealed=False)
    except ValueError as error:
        sys.exit(str(error))
    missing = sorted(set(CLAIMS) - set(claims.claim))
    if missing:
        sys.exit(f"{path}: expected every claim, found none of {', '.join(missing)}. Delete the file and run again.")
    print(summary(claims))
    for name in ("figures", "tables", "report.html"):
        if (run / name).exists():
            print(f"{name.removesuffix('.html'):<8} {run / name}")


if __name__ == "__main__":
    main()
