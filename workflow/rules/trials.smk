rule trials:
    input:
        images=rules.dataset.output.images,
        networks=of_jobs("train", rules.train_block.output.networks)[0],
    output:
        table=report(
            f"{RESULTS}/tables/trial.csv",
            caption="../report/trial_table.rst",
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
        mem_mb=by_networks(2000, 0),
        runtime=by_networks(10, 0),
    params:
        code=code("trials"),
        task=config["task"],
    message:
        "One trial as the first trained network sees it"
    script:
        "../scripts/trials.py"
