rule formation:
    input:
        backtrack=f"{RESULTS}/tables/backtrack.csv",
        confusion=f"{RESULTS}/tables/confusion.csv",
        scores=rules.correlate.output.scores,
    output:
        formation=report(
            f"{RESULTS}/tables/formation.csv",
            category="Tables",
            labels={"table": "formation"},
        ),
        confusion_test=report(
            f"{RESULTS}/tables/confusion_test.csv",
            category="Tables",
            labels={"table": "confusion_test"},
        ),
    log:
        f"{RESULTS}/logs/formation.log",
    benchmark:
        f"{RESULTS}/benchmarks/formation.tsv"
    group:
        "summary"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=memory("formation"),
        runtime=minutes("formation"),
    params:
        code=code("formation"),
        resamples=config["correlate"]["resamples"],
        seed=config["correlate"]["seed"],
    message:
        "When each class's point formed, and from which it split"
    script:
        "../scripts/formation.py"
