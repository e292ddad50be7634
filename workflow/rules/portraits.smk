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
        mem_mb=memory("portraits"),
        runtime=minutes("portraits"),
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
