rule dataset:
    input:
        images=sources.image_files(config["dataset"]),
        # What only downloaded sources use cannot change other images, and an edit of it should not train anew.
        library=[
            path
            for path in library("dataset")
            if DATASET in COLLECTIONS or Path(path).stem not in ("cifar", "downloads", "idx")
        ],
    output:
        images=f"{RESULTS}/dataset/{DATASET}.safetensors",
    log:
        f"{RESULTS}/logs/dataset/{DATASET}.log",
    benchmark:
        f"{RESULTS}/benchmarks/dataset/{DATASET}.tsv"
    localrule: True
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        dataset=config["dataset"],
    message:
        "Images of {params.dataset[source]}: split, balance, scale"
    script:
        "../scripts/dataset.py"
