rule dataset:
    input:
        images=sources.image_files(config["dataset"]),
        library=library("dataset"),
    output:
        images=f"{RESULTS}/dataset/{DATASET}.safetensors",
    log:
        f"{RESULTS}/logs/dataset/{DATASET}.log",
    benchmark:
        f"{RESULTS}/benchmarks/dataset/{DATASET}.tsv"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        dataset=config["dataset"],
    message:
        "Images of {params.dataset[source]}: split, balance, scale"
    script:
        "../scripts/dataset.py"
