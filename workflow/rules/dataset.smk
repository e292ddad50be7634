# The user's own images: names and contents count, not where they lie or when they were written. Known sets have contents
# that reading them makes sure of.
IMAGES = sources.image_files(config["dataset"]) if DATASET == "folder" else []
NAME = Path(os.path.expanduser(config["dataset"]["folder"])).resolve().name if IMAGES else DATASET


rule dataset:
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
        code=code("dataset"),
        # A function, because Snakemake would take what stands in curly brackets in a name for a wildcard.
        name=lambda wildcards: NAME,
        contents=digests.of_images(IMAGES, f".snakemake/images-{config['run']}") if IMAGES else None,
        # As a function of the output, it is not compared with what it was.
        dataset=lambda wildcards, output: config["dataset"],
    message:
        "Images of {params.name}: split, balance, scale"
    script:
        "../scripts/dataset.py"
