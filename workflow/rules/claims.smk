rule claims:
    input:
        scores=rules.correlate.output.scores,
        correlation=rules.correlate.output.correlation,
        slow_points=f"{RESULTS}/tables/slow_points.csv",
        other_starts=f"{RESULTS}/tables/other_starts.csv",
        relaxed=f"{RESULTS}/tables/relaxed.csv",
        formation=rules.formation.output.formation,
        confusion_test=rules.formation.output.confusion_test,
    output:
        claims=report(
            f"{RESULTS}/tables/claims.csv",
            category="Claims",
            labels={"table": "claims"},
        ),
        numbers=f"{RESULTS}/tables/numbers.json",
    log:
        f"{RESULTS}/logs/claims.log",
    benchmark:
        f"{RESULTS}/benchmarks/claims.tsv"
    group:
        "summary"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=memory("claims"),
        runtime=minutes("claims"),
    params:
        code=code("claims"),
        settings={
            "search_steps": config["claims"]["search_steps"],
            "max_delay": MAX_DELAY,
            "coincide_distance": config["backtrack"]["coincide_distance"],
            "confidence": config["correlate"]["confidence"],
        },
    message:
        "Verdicts on the claims"
    script:
        "../scripts/claims.py"
