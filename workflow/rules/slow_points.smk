rule slow_points_block:
    input:
        images=rules.dataset.output.images,
        networks=f"{RESULTS}/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
    output:
        points=f"{RESULTS}/slow_points/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
        table=f"{RESULTS}/slow_points/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.csv",
    log:
        f"{RESULTS}/logs/slow_points/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/slow_points/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory("slow_points"),
        runtime=minutes("slow_points"),
        gpu=GPUS,
    params:
        code=code("slow_points"),
        slow_points=config["slow_points"],
        device=config["engine"]["device"],
        float32_library=config["engine"]["float32_library"],
    message:
        "Slow points of {wildcards.cell}, {wildcards.protocol}, {wildcards.stage}, {wildcards.seeds}"
    script:
        "../scripts/slow_points.py"


rule slow_points:
    input:
        of_jobs("slow_points", rules.slow_points_block.output.table),
