rule portraits_block:
    input:
        images=rules.dataset.output.images,
        networks=rules.train_block.output.networks,
        points=f"{RESULTS}/slow_points/train/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
    output:
        table=f"{RESULTS}/portraits/{{cell}}-{{protocol}}/{{seeds}}.csv",
    log:
        f"{RESULTS}/logs/portraits/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/portraits/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=by_size(
            planning.megabytes,
            config["portraits"]["delay"] * config["portraits"]["trials"] * CLASSES,
            "train",
            front=FRONT_BYTES["portraits"],
        ),
        runtime=by_size(planning.minutes, UPDATES["portraits"], "train", front=FRONT_SECONDS["portraits"]),
        gpu=GPUS,
    params:
        code=code("portraits"),
        portraits=config["portraits"],
        search_steps=config["spectrum"]["search_steps"],
        device=config["engine"]["device"],
    message:
        "Portrait of {wildcards.cell}, {wildcards.protocol}, {wildcards.seeds}"
    script:
        "../scripts/portraits.py"


rule portraits:
    input:
        of_jobs("portraits", rules.portraits_block.output.table),
