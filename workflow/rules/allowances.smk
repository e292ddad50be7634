# What jobs may take: minutes, memory, GPUs; and which of them a cluster is given together.

# A GPU is asked for where the configuration insists on one; `auto` asks for none and takes what is there.
GPUS = int(config["engine"]["device"] == "cuda")
PIXELS = sources.pixels(config["dataset"])
COUNT = len(sources.image_files(config["dataset"])) if DATASET == "folder" else sources.MOST_IMAGES
MODES = {"train": 1, "regularise": len(planning.modes(config))}  # networks that each seed has


def networks(stage, wildcards):
    """Networks in a job of a stage; none where it works on tables."""
    name = wildcards.get("stage", stage)
    return len(BLOCKS[wildcards.seeds]) * MODES.get(name, 1) if STAGES[stage].of else 0


def minutes(stage):
    """Allowance for a stage's jobs: twice as much for a second attempt, and four times for a third."""
    return lambda wildcards, attempt: 2 ** (attempt - 1) * planning.minutes(config, stage, networks(stage, wildcards))


def memory(stage):
    """As `minutes`, in MB."""
    return lambda wildcards, attempt: (
        2 ** (attempt - 1) * planning.megabytes(config, stage, networks(stage, wildcards), CLASSES, PIXELS, COUNT)
    )


def together(wildcards):
    """Group of a block's jobs: one submission for all of them where they are short, else one for each."""
    each = sum(config["resources"][name]["minutes"] * MODES.get(of, 1) for name in BLOCKWISE for of in STAGES[name].of)
    return "block" if each * len(BLOCKS[wildcards.seeds]) <= planning.SHORT_MINUTES else None
