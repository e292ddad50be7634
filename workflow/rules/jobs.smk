# Every job of a run, whose files end up in its manifest; and what is said when all are done.

import atexit
import json

if not MODULE:

    report: "../report/workflow.rst"


BEFORE = planning.written(PROVENANCE)
# Jobs of this run alone: the folder may hold those of seeds and protocols that are no longer configured.
SINGLE = [rules.dataset, rules.trials, rules.correlate, rules.predictors, rules.formation, rules.claims]
BLOCKWISE = [
    (rules.train_block, ["train"], BLOCKS),
    (rules.regularise_block, ["regularise"], BLOCKS),
    (rules.slow_points_block, ["train", "regularise"], BLOCKS),
    (rules.spectrum_block, ["train"], BLOCKS),
    (rules.portraits_block, ["train"], FIRST_BLOCK),
    (rules.backtrack_block, ["backtrack"], BLOCKS),
    (rules.extrapolate_block, ["train", "regularise"], BLOCKS),
]


def of_jobs(patterns):
    """Paths that belong to the run's jobs; `patterns` is a function of a rule that lists them with their wildcards."""
    return [
        *(path for rule in SINGLE for path in patterns(rule)),
        *(path for rule, *where in BLOCKWISE for pattern in patterns(rule) for path in per_block(pattern, *where)),
        *expand(patterns(rules.tables), table=JOINED),
        *expand(patterns(rules.figure), figure=figures.FIGURES),
    ]


onsuccess:
    # Verdicts belong at the end of a run that reached them; after a part of it, they may be those of other settings.
    if planning.written(PROVENANCE) != BEFORE:
        from memrnn.analysis import claims  # here and not for every plan: its statistics take a second to import

        claims.main([RESULTS])


def leave_note():
    """Write the run's settings where `make reproduce` asks for them, once all of the run, and not a part, was made."""
    whole = workflow.execution_settings and not workflow.dryrun and not workflow.overwrite_workdir
    if whole and any(job.rule.name == "all" for job in workflow.dag.jobs):
        Path(NOTE).write_text(json.dumps(SETTINGS))


NOTE = os.environ.get("MEMRNN_NOTE")
if NOTE:
    atexit.register(leave_note)
