"""Train one block of networks on in every mode, each with its penalty or task."""

import shutil
from pathlib import Path

from memrnn.core.files import save_table
from memrnn.core.jobs import fingerprint_of, log_to, prepare_process, told_to_stop
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.dynamics.points import stored
from memrnn.models import networks
from memrnn.tasks.delayed_classification import latest_stimulus
from memrnn.tasks.protocols import Lesson, Schedule, checkpoint_steps
from memrnn.training import train
from memrnn.training.engine import choose
from memrnn.training.known import Known
from memrnn.training.regularise import train_on

settings, task, modes = snakemake.params.regularise, snakemake.params.task, snakemake.params.mode_settings
log = log_to(snakemake.log[0], "regularise", snakemake.params)
prepare_process(snakemake.threads)
stop = told_to_stop()

images = load_images(snakemake.input.images)
before, meta = networks.load(snakemake.input.networks)
full = Lesson(len(images.classes), task["steps"])
plan = train.Plan(
    schedule=Schedule((0,), (full,)),
    full=full,
    min_delay=task["min_delay"],
    steps=settings["steps"],
    batch=settings["batch"],
    learning_rate=settings["learning_rate"],
    drop=None,
    log_every=settings["log_every"],
    log_trials=snakemake.params.log_trials,
    checkpoints=checkpoint_steps(snakemake.params.checkpoints, settings["steps"]),
    stream="regularise",
)
engine = choose(snakemake.params.engine)
points, centroids = (
    tuple(part.to(engine.device) for part in state)
    for state in stored(snakemake.input.points, settings["search_steps"], before.seeds)
)
latest_image = latest_stimulus(task["steps"], task["min_delay"])
known = Known(before.to(engine.device), images, centroids, points, settings["relaxed_steps"], latest_image)
folder = Path(snakemake.output.networks).with_suffix(".partial")
fingerprint = fingerprint_of(snakemake.input, snakemake.params, *engine.circumstances)
trained, rows = train_on(known, modes, plan, engine, folder, fingerprint, log, stop)

networks.save(snakemake.output.networks, trained, meta)
save_table(snakemake.output.table, label_rows(rows, meta), "training")
shutil.rmtree(folder)
