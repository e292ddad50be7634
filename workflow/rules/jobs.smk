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


def end(whole):
    """What comes after all jobs of this call, those of the whole run or of a part of it."""
    if planning.written(PROVENANCE) == BEFORE:
        made = {job.rule.name for job in workflow.dag.finished_jobs} & {stage.rule for stage in STAGES.values()}
        if made and not workflow.touch and planning.forget_record(RESULTS):
            print(
                f"{RESULTS}: {', '.join(sorted(made))} made anew, so the run's record was removed: it told of the settings"
            )
            print("of before. The same command without a target writes it again.")
    elif whole:
        # Verdicts belong at the end of a run that reached them; after a part, they may be those of other settings.
        from memrnn.analysis.claims import __main__ as claims  # its statistics take a second to import

        claims.main([RESULTS])


onsuccess:
    end(whole=True)


onerror:
    end(whole=False)


def leave_note():
    """Write the run's settings where `make reproduce` asks for them, once all of the run, and not a part, was made."""
    whole = workflow.execution_settings and not workflow.dryrun and not workflow.overwrite_workdir
    if whole and any(job.rule.name == "all" for job in workflow.dag.jobs):
        Path(NOTE).write_text(json.dumps(SETTINGS))


NOTE = os.environ.get("MEMRNN_NOTE")
if NOTE:
    atexit.register(leave_note)
