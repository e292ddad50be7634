report: "../report/workflow.rst"


onsuccess:
    from memrnn import claims  # here and not for every plan: its statistics take a second to import

    if Path(RESULTS, "provenance.json").is_file():
        claims.main([RESULTS])


rule provenance:
    input:
        claims=rules.claims.output.claims,
        figures=expand(rules.figure.output, figure=figures.TABLES),
        tables=expand(rules.tables.output, table=["training", "extrapolation", "slow_points"]),
        library=library("provenance"),
    output:
        provenance=f"{RESULTS}/provenance.json",
    log:
        f"{RESULTS}/logs/provenance.log",
    benchmark:
        f"{RESULTS}/benchmarks/provenance.tsv"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=SETTINGS,
        root=os.path.relpath(ROOT),
        benchmarks=f"{RESULTS}/benchmarks",
    message:
        "Provenance of the run"
    script:
        "../scripts/provenance.py"
