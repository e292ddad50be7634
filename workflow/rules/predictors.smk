rule predictors:
    input:
        scores=rules.correlate.output.scores,
        slow_points=f"{RESULTS}/tables/slow_points.csv",
        spectrum=f"{RESULTS}/tables/spectrum.csv",
        relaxed=f"{RESULTS}/tables/relaxed.csv",
    output:
        predictors=report(
            f"{RESULTS}/tables/predictors.csv",
            category="Tables",
            labels={"table": "predictors"},
        ),
        predictions=report(
            f"{RESULTS}/tables/predictions.csv",
            category="Tables",
            labels={"table": "predictions"},
        ),
    log:
        f"{RESULTS}/logs/predictors.log",
    benchmark:
        f"{RESULTS}/benchmarks/predictors.tsv"
    group:
        "summary"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=memory("predictors"),
        runtime=minutes("predictors"),
    params:
        code=code("predictors"),
        correlate=config["correlate"],
        search_steps=config["claims"]["search_steps"],
        delays={"max_delay": MAX_DELAY, "longest_delay": max(config["extrapolate"]["delays"])},
    message:
        "Which predictor of memory is best"
    script:
        "../scripts/predictors.py"
