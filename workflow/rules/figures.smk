rule figure:
    input:
        unpack(
            lambda wildcards: {table: f"{RESULTS}/tables/{table}.csv" for table in figures.FIGURES[wildcards.figure]}
        ),
    output:
        png=report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        svg=f"{RESULTS}/figures/{{figure}}.svg",
        caption=f"{RESULTS}/figures/{{figure}}.txt",
    log:
        f"{RESULTS}/logs/figures/{{figure}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures/{{figure}}.tsv"
    group:
        "figures"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=memory("figures"),
        runtime=minutes("figures"),
    params:
        code=code("figures", "memrnn.figures.{figure}"),
        settings={
            **config["figures"],
            "search_steps": config["claims"]["search_steps"],
            "max_delay": MAX_DELAY,
            "min_delay": config["task"]["min_delay"],
            "confidence": config["correlate"]["confidence"],
            "log_every": config["train"]["log_every"],
            "regularise_steps": config["regularise"]["steps"],
            "spectrum": config["spectrum"],
            "protocols": {name: config["protocol_settings"][name] for name in config["protocols"]},
            "boundaries": {
                name: planning.boundaries(config["protocol_settings"][name], config["train"]["steps"])
                for name in config["protocols"]
            },
        },
    message:
        "Figure {wildcards.figure}"
    script:
        "../scripts/figures.py"


rule figures:
    input:
        of_jobs("figures", *rules.figure.output),
