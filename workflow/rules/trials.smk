rule trials:
    input:
        images=rules.dataset.output.images,
        networks=of_jobs("train", rules.train_block.output.networks)[0],
    output:
        table=report(
            f"{RESULTS}/tables/trial.csv",
            category="Tables",
            labels={"table": "one trial"},
        ),
    log:
        f"{RESULTS}/logs/trials.log",
    benchmark:
        f"{RESULTS}/benchmarks/trials.tsv"
    group:
        "figures"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=memory("trials"),
        runtime=minutes("trials"),
    params:
        code=code("trials"),
        task=config["task"],
    message:
        "One trial as the first trained network sees it"
    script:
        "../scripts/trials.py"
