rule spectrum_block:
    input:
        images=rules.dataset.output.images,
        networks=rules.train_block.output.networks,
        points=f"{RESULTS}/slow_points/train/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
    output:
        table=f"{RESULTS}/spectrum/{{cell}}-{{protocol}}/{{seeds}}.csv",
        relaxed=f"{RESULTS}/spectrum/{{cell}}-{{protocol}}/{{seeds}}.relaxed.csv",
    log:
        f"{RESULTS}/logs/spectrum/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/spectrum/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory("spectrum"),
        runtime=minutes("spectrum"),
        gpu=GPUS,
    params:
        code=code("spectrum"),
        spectrum={
            **config["spectrum"],
            "relaxed_times": sorted({*config["spectrum"]["relaxed_times"], 2 * MAX_DELAY}),
        },
        device=config["engine"]["device"],
    message:
        "Kinds of points of {wildcards.cell}, {wildcards.protocol}, {wildcards.seeds}"
    script:
        "../scripts/spectrum.py"


rule spectrum:
    input:
        of_jobs("spectrum", rules.spectrum_block.output.table),
