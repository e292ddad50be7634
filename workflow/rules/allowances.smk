# What jobs may take: minutes, memory, GPUs; and which of them a cluster is given together.

import math

UPDATES = planning.updates(config, CLASSES)  # of each network, by stage
MODES = {"train": 1, "regularise": len(config["regularise"]["modes"])}
NETWORKS = len(config["seeds"]) * sum(MODES[stage] * len(ENSEMBLES[stage]) for stage in MODES)
# A GPU is asked for where the configuration insists on one; `auto` asks for none and takes what is there.
GPUS = int(config["engine"]["device"] == "cuda")


FRONT = planning.front(config["network"], sources.PIXELS[DATASET])
FRONT_SECONDS = planning.front_seconds(config, CLASSES, FRONT)  # of each network, by stage
FRONT_BYTES = planning.front_bytes(config, FRONT)


def inputs_of(batch=None):
    """Inputs that a network's products have; with `batch`, the trials of an update, these may share frames."""
    if batch is None:
        return max(FRONT.inputs, FRONT.shown)
    return planning.shared_inputs(FRONT.inputs, config["engine"]["shared_frames"], batch, MAX_DELAY)


def by_size(allowance, amount, stage=None, batch=None, front=0):
    """`planning.minutes` or `planning.megabytes` for a block of wildcard {stage} or the stage named; twice as much for a
    second attempt. With `batch`, the trials of an update, these may share frames. `front` is what the front end needs.
    """
    inputs = inputs_of(batch)

    def resource(wildcards, attempt):
        networks = MODES[stage or wildcards.stage] * len(BLOCKS[wildcards.seeds])
        return attempt * allowance(amount, networks, inputs, config["network"]["units"], front)

    return resource


def by_networks(base, each):
    """An allowance for a summary: `base`, and `each` for every network of the run; twice as much for a second attempt.

    Measured for 1,800 networks: `correlate` takes 0.3 MB and 0.01 s more for each, the others less.
    """
    return lambda wildcards, attempt: attempt * math.ceil(base + each * NETWORKS)


def together(wildcards):
    """Group of a block's jobs: one submission for all of them where they are short, else one for each."""
    seeds, units = len(BLOCKS[wildcards.seeds]), config["network"]["units"]
    seconds = 0
    for stage, updates in UPDATES.items():
        # Points are searched, and tests made, of networks of both stages; the others work on trained networks.
        modes = sum(MODES.values()) if stage in ("slow_points", "extrapolate") else MODES.get(stage, MODES["train"])
        networks = seeds * modes
        inputs = inputs_of(config[stage].get("batch"))
        seconds += planning.seconds(updates, networks, inputs, units, FRONT_SECONDS[stage])
    return "block" if seconds <= planning.SHORT_SECONDS else None
