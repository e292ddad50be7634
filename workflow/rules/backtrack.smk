rule backtrack_block:
    input:
        images=rules.dataset.output.images,
        checkpoints=rules.train_block.output.checkpoints,
        points=f"{RESULTS}/slow_points/train/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
    output:
        points=f"{RESULTS}/backtrack/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
        table=f"{RESULTS}/backtrack/{{cell}}-{{protocol}}/{{seeds}}.csv",
        confusion=f"{RESULTS}/backtrack/{{cell}}-{{protocol}}/{{seeds}}.confusion.csv",
    log:
        f"{RESULTS}/logs/backtrack/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/backtrack/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory("backtrack"),
        runtime=minutes("backtrack"),
        gpu=GPUS,
    params:
        code=code("backtrack"),
        backtrack=lambda wildcards: {key: value for key, value in config["backtrack"].items() if key != "protocols"},
        learning_rate=config["slow_points"]["learning_rate"],
        learning_rate_drop=config["slow_points"]["learning_rate_drop"],
        task=config["task"],
        steps=config["train"]["steps"],
        protocol_settings=lambda wildcards: {wildcards.protocol: config["protocol_settings"][wildcards.protocol]},
        device=config["engine"]["device"],
        float32_library=config["engine"]["float32_library"],
    message:
        "Slow points back through training of {wildcards.cell}, {wildcards.protocol}, {wildcards.seeds}"
    script:
        "../scripts/backtrack.py"


rule backtrack:
    input:
        of_jobs("backtrack", rules.backtrack_block.output.table),
