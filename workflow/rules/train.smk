rule train_block:
    input:
        images=rules.dataset.output.images,
    output:
        networks=f"{RESULTS}/train/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
        checkpoints=f"{RESULTS}/train/{{cell}}-{{protocol}}/{{seeds}}.checkpoints.safetensors",
        table=f"{RESULTS}/train/{{cell}}-{{protocol}}/{{seeds}}.csv",
    log:
        f"{RESULTS}/logs/train/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory("train"),
        runtime=minutes("train"),
        gpu=GPUS,
    params:
        code=code("train"),
        seeds=lambda wildcards: BLOCKS[wildcards.seeds],
        task=config["task"],
        network=planning.network(config),
        train=config["train"],
        engine=config["engine"],
        protocol_settings=lambda wildcards: {wildcards.protocol: config["protocol_settings"][wildcards.protocol]},
    message:
        "Train {wildcards.cell} under {wildcards.protocol}, {wildcards.seeds}"
    script:
        "../scripts/train.py"


rule train:
    input:
        of_jobs("train", rules.train_block.output.networks),
