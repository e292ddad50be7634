rule other_starts_block:
    input:
        images=rules.dataset.output.images,
        networks=rules.train_block.output.networks,
    output:
        table=f"{RESULTS}/other_starts/{{cell}}-{{protocol}}/{{seeds}}.csv",
    log:
        f"{RESULTS}/logs/other_starts/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/other_starts/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory("other_starts"),
        runtime=minutes("other_starts"),
        gpu=GPUS,
    params:
        code=code("other_starts"),
        slow_points={**config["slow_points"], "search_steps": [config["claims"]["search_steps"]]},
        max_delay=MAX_DELAY,
        device=config["engine"]["device"],
        float32_library=config["engine"]["float32_library"],
    message:
        "Slow points from other starts of {wildcards.cell}, {wildcards.protocol}, {wildcards.seeds}"
    script:
        "../scripts/other_starts.py"


rule other_starts:
    input:
        of_jobs("other_starts", rules.other_starts_block.output.table),
