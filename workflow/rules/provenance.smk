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
        *expand(patterns(rules.figure), figure=figures.TABLES),
    ]


onsuccess:
    # Verdicts belong at the end of a run that reached them; after a part of it, they may be those of other settings.
    if planning.written(PROVENANCE) != BEFORE:
        from memrnn import claims  # here and not for every plan: its statistics take a second to import

        claims.main([RESULTS])


rule provenance:
    input:
        files=of_jobs(lambda rule: [str(path) for path in rule.output]),
        library=library("provenance"),
    output:
        provenance=str(PROVENANCE),
        manifest=f"{RESULTS}/manifest.csv",
    log:
        f"{RESULTS}/logs/provenance.log",
    benchmark:
        f"{RESULTS}/benchmarks/provenance.tsv"
    localrule: True
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=SETTINGS,
        root=os.path.relpath(ROOT),
        benchmarks=of_jobs(lambda rule: [str(rule.benchmark)]),
        logs=of_jobs(lambda rule: [str(path) for path in rule.log]),
        folder=RESULTS,
    message:
        "Provenance and manifest of the run"
    script:
        "../scripts/provenance.py"
