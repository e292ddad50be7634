report: "../report/workflow.rst"


PROVENANCE = Path(RESULTS, "provenance.json")
BEFORE = planning.written(PROVENANCE)
# Of this run's jobs alone: the folder may hold those of seeds and protocols that are no longer configured.
BENCHMARKS = [
    *(
        str(rule.benchmark)
        for rule in (rules.dataset, rules.trials, rules.correlate, rules.predictors, rules.formation, rules.claims)
    ),
    *per_block(rules.train_block.benchmark, ["train"]),
    *per_block(rules.regularise_block.benchmark, ["regularise"]),
    *per_block(rules.slow_points_block.benchmark),
    *per_block(rules.spectrum_block.benchmark, ["train"]),
    *per_block(rules.portraits_block.benchmark, ["train"], FIRST_BLOCK),
    *per_block(rules.backtrack_block.benchmark, ["backtrack"]),
    *per_block(rules.extrapolate_block.benchmark),
    *expand(str(rules.tables.benchmark), table=JOINED),
    *expand(str(rules.figure.benchmark), figure=figures.TABLES),
]


onsuccess:
    # Verdicts belong at the end of a run that reached them; after a part of it, they may be those of other settings.
    if planning.written(PROVENANCE) != BEFORE:
        from memrnn import claims  # here and not for every plan: its statistics take a second to import

        claims.main([RESULTS])


rule provenance:
    input:
        claims=rules.claims.output.claims,
        figures=expand(rules.figure.output, figure=figures.TABLES),
        tables=expand(rules.tables.output, table=JOINED),
        library=library("provenance"),
    output:
        provenance=str(PROVENANCE),
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
        benchmarks=BENCHMARKS,
        folder=f"{RESULTS}/benchmarks",
    message:
        "Provenance of the run"
    script:
        "../scripts/provenance.py"
