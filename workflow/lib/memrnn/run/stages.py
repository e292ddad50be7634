"""The stages of the workflow, each declared once: on which networks it works, and which tables join what it makes.

Each has a rule file, a script, a rule and a folder of results of its name. The rule file says what a job reads and
writes; the rules' targets, the tables of a run and its manifest follow from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from memrnn import figures
from memrnn.run import planning


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of its rule file and script.
        of: sections of the configuration whose `protocols` say on which ensembles it works, a block of networks in each
            job: `train` stands for all. Empty for a stage that works on the whole run.
        first_block: whether it works on each ensemble's first block alone.
        tables: tables of the run that join those of its jobs, and the output that each joins.
        each: wildcard of a stage with a job for each table or figure.
        rule: that makes its files.
    """

    name: str
    of: tuple[str, ...] = ()
    first_block: bool = False
    tables: Mapping[str, str] = field(default_factory=dict)
    each: str | None = None

    @property
    def rule(self) -> str:
        if self.of:
            return f"{self.name}_block"
        return self.each if self.each == "figure" else self.name

    def jobs(self, config: Mapping[str, Any]) -> list[dict[str, str]]:
        """Wildcards of each of its jobs in a run with the merged configuration."""
        if self.each:
            return [{self.each: name} for name in {"table": JOINED, "figure": figures.FIGURES}[self.each]]
        if not self.of:
            return [{}]
        blocks, ensembles = list(planning.blocks(config["seeds"], config["block_size"])), planning.ensembles(config)
        return [
            {"stage": chosen, "cell": cell, "protocol": protocol, "seeds": seeds}
            for chosen in self.of
            for cell, protocol in ensembles[chosen]
            for seeds in (blocks[:1] if self.first_block else blocks)
        ]


STAGES = {
    stage.name: stage
    for stage in (
        Stage("dataset"),
        Stage("train", of=("train",), tables={"training": "table"}),
        Stage("trials"),
        Stage("slow_points", of=("train", "regularise"), tables={"slow_points": "table"}),
        Stage("other_starts", of=("other_starts",), tables={"other_starts": "table"}),
        Stage("spectrum", of=("train",), tables={"spectrum": "table", "relaxed": "relaxed"}),
        Stage("portraits", of=("train",), first_block=True, tables={"portraits": "table"}),
        Stage("backtrack", of=("backtrack",), tables={"backtrack": "table", "confusion": "confusion"}),
        Stage("regularise", of=("regularise",), tables={"training": "table"}),
        Stage("extrapolate", of=("train", "regularise"), tables={"extrapolation": "table", "nominal": "nominal"}),
        Stage("tables", each="table"),
        Stage("correlate"),
        Stage("formation"),
        Stage("predictors"),
        Stage("claims"),
        Stage("figures", each="figure"),
    )
}
BLOCKWISE = tuple(name for name, stage in STAGES.items() if stage.of)
TRAINERS = ("train", "regularise")  # stages that make networks
JOINED = tuple(dict.fromkeys(table for stage in STAGES.values() for table in stage.tables))
