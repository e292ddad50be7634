"""Train one block of networks under one protocol."""

import shutil
from pathlib import Path

from memrnn.core.files import save_arrays, save_table
from memrnn.core.jobs import fingerprint_of, log_to, prepare_process, told_to_stop
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.models import networks
from memrnn.models.fronts import choose as choose_front
from memrnn.tasks.delayed_classification import untrained
from memrnn.tasks.protocols import Lesson, checkpoint_steps, schedule
from memrnn.training import train
from memrnn.training.engine import choose

cell, protocol = snakemake.wildcards.cell, snakemake.wildcards.protocol
settings, task, seeds = snakemake.params.train, snakemake.params.task, snakemake.params.seeds
log = log_to(snakemake.log[0], "train", snakemake.params)
prepare_process(snakemake.threads)
stop = told_to_stop()

images = load_images(snakemake.input.images)
full = Lesson(len(images.classes), task["steps"])
lessons = schedule(protocol, snakemake.params.protocol_settings[protocol], settings["steps"], full)
plan = train.Plan(
    schedule=lessons,
    full=full,
    min_delay=task["min_delay"],
    steps=settings["steps"],
    batch=settings["batch"],
    learning_rate=settings["learning_rate"],
    drop=train.drop_of(settings["learning_rate_drop"], settings["steps"]),
    log_every=settings["log_every"],
    log_trials=settings["log_trials"],
    checkpoints=tuple(sorted({*checkpoint_steps(settings["checkpoints"], settings["steps"]), *lessons.starts})),
)
network = snakemake.params.network
front = choose_front(network, images.shape)
start = untrained(cell, seeds, images.train_images.shape[1], network["units"], len(images.classes), front)
folder = Path(snakemake.output.networks).with_suffix(".partial")
engine = choose(snakemake.params.engine)
fingerprint = fingerprint_of(snakemake.input, snakemake.params, cell, *engine.circumstances)
trained, rows = train.run(start, images, plan, engine, folder, fingerprint, log, stop=stop)

meta = {"dataset": images.name, "curriculum": protocol}
networks.save(snakemake.output.networks, trained, meta)
checkpoints = train.checkpoints(folder, plan.checkpoints)
about = {**meta, "steps": plan.checkpoints, "seeds": seeds, "front": front.settings()}
save_arrays(snakemake.output.checkpoints, checkpoints, about)
save_table(snakemake.output.table, label_rows(rows, {**meta, "cell": cell}), "training")
shutil.rmtree(folder)
