rule extrapolate_block:
    input:
        images=rules.dataset.output.images,
        networks=f"{RESULTS}/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
    output:
        table=f"{RESULTS}/extrapolate/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.csv",
        nominal=f"{RESULTS}/extrapolate/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.nominal.csv",
    log:
        f"{RESULTS}/logs/extrapolate/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extrapolate/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory("extrapolate"),
        runtime=minutes("extrapolate"),
        gpu=GPUS,
    params:
        code=code("extrapolate"),
        task=config["task"],
        extrapolate=config["extrapolate"],
        device=config["engine"]["device"],
        float32_library=config["engine"]["float32_library"],
    message:
        "Longer delays for {wildcards.cell}, {wildcards.protocol}, {wildcards.stage}, {wildcards.seeds}"
    script:
        "../scripts/extrapolate.py"


rule extrapolate:
    input:
        of_jobs("extrapolate", rules.extrapolate_block.output.table),
