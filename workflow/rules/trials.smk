rule trials:
    input:
        images=rules.dataset.output.images,
        networks=per_block(rules.train_block.output.networks, ["train"])[0],
        library=library("trials"),
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
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        task=config["task"],
    message:
        "One trial as the first trained network sees it"
    script:
        "../scripts/trials.py"
