rule correlate:
    input:
        extrapolation=f"{RESULTS}/tables/extrapolation.csv",
        nominal=f"{RESULTS}/tables/nominal.csv",
        slow_points=f"{RESULTS}/tables/slow_points.csv",
        spectrum=f"{RESULTS}/tables/spectrum.csv",
        relaxed=f"{RESULTS}/tables/relaxed.csv",
    output:
        scores=report(
            f"{RESULTS}/tables/scores.csv",
            category="Tables",
            labels={"table": "scores"},
        ),
        correlation=report(
            f"{RESULTS}/tables/correlation.csv",
            category="Tables",
            labels={"table": "correlation"},
        ),
    log:
        f"{RESULTS}/logs/correlate.log",
    benchmark:
        f"{RESULTS}/benchmarks/correlate.tsv"
    group:
        "summary"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=memory("correlate"),
        runtime=minutes("correlate"),
    params:
        code=code("correlate"),
        correlate=config["correlate"],
        max_delay=MAX_DELAY,
    message:
        "Speed of slow points, and other predictors, against extrapolation and lifetime"
    script:
        "../scripts/correlate.py"
