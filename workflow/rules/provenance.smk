rule provenance:
    input:
        files=of_all_jobs(lambda rule: [str(path) for path in rule.output]),
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
        code=code("provenance"),
        config=SETTINGS,
        root=os.path.relpath(ROOT),
        benchmarks=of_all_jobs(lambda rule: [str(rule.benchmark)]),
        logs=of_all_jobs(lambda rule: [str(path) for path in rule.log]),
        folder=lambda wildcards, output: os.path.dirname(output.manifest),
    message:
        "Provenance and manifest of the run"
    script:
        "../scripts/provenance.py"
