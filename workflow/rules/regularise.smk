rule regularise_block:
    input:
        images=rules.dataset.output.images,
        networks=rules.train_block.output.networks,
        points=f"{RESULTS}/slow_points/train/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
    output:
        networks=f"{RESULTS}/regularise/{{cell}}-{{protocol}}/{{seeds}}.safetensors",
        table=f"{RESULTS}/regularise/{{cell}}-{{protocol}}/{{seeds}}.csv",
    log:
        f"{RESULTS}/logs/regularise/{{cell}}-{{protocol}}/{{seeds}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/regularise/{{cell}}-{{protocol}}/{{seeds}}.tsv"
    group:
        together
    conda:
        "../../envs/memrnn.yaml"
    threads: config["threads"]
    resources:
        mem_mb=memory("regularise"),
        runtime=minutes("regularise"),
        gpu=GPUS,
    params:
        code=code("regularise"),
        task=config["task"],
        regularise=lambda wildcards: {
            key: value for key, value in config["regularise"].items() if key not in ("protocols", "modes")
        },
        mode_settings=planning.modes(config),
        engine=config["engine"],
        log_trials=config["train"]["log_trials"],
        checkpoints=config["train"]["checkpoints"],
    message:
        f"Train on {{wildcards.cell}}, {{wildcards.protocol}}, {{wildcards.seeds}}: {', '.join(planning.modes(config))}"
    script:
        "../scripts/regularise.py"


rule regularise:
    input:
        of_jobs("regularise", rules.regularise_block.output.networks),
