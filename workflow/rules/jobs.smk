# Every job of a run, whose files end up in its manifest; and what is said when all are done.

import atexit
import json

if not MODULE:

    report: "../report/workflow.rst"


BEFORE = planning.written(PROVENANCE)


def of_all_jobs(patterns):
    """Paths of the run's jobs alone: the folder may hold those of seeds and protocols that are no longer configured.

    `patterns` is a function of a rule that lists them with their wildcards.
    """
    return [path for name, stage in STAGES.items() for path in of_jobs(name, *patterns(getattr(rules, stage.rule)))]


onsuccess:
    # Verdicts belong at the end of a run that reached them; after a part of it, they may be those of other settings.
    if planning.written(PROVENANCE) != BEFORE:
        from memrnn.analysis.claims import (
            __main__,
        )  # here and not for every plan: its statistics take a second to import

        __main__.main([RESULTS])


def leave_note():
    """Write the run's settings where `make reproduce` asks for them, once all of the run, and not a part, was made."""
    whole = workflow.execution_settings and not workflow.dryrun and not workflow.overwrite_workdir
    if whole and any(job.rule.name == "all" for job in workflow.dag.jobs):
        Path(NOTE).write_text(json.dumps(SETTINGS))


NOTE = os.environ.get("MEMRNN_NOTE")
if NOTE:
    atexit.register(leave_note)
