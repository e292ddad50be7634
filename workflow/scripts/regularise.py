"""Train one block of networks on in every mode: lowering the speed at slow points or centroids, or nowhere."""

import shutil
from pathlib import Path

from memrnn.core.files import save_table
from memrnn.core.jobs import fingerprint_of, log_to, prepare_process, told_to_stop
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.models import networks
from memrnn.tasks.protocols import Schedule, Stage, checkpoint_steps
from memrnn.training import train
from memrnn.training.engine import choose
from memrnn.training.regularise import MODES, in_modes, points_of_modes, speed_penalty

settings, task, modes = snakemake.params.regularise, snakemake.params.task, snakemake.params.modes
log = log_to(snakemake.log[0], "regularise")
prepare_process(snakemake.threads)
stop = told_to_stop()

images = load_images(snakemake.input.images)
before, meta = networks.load(snakemake.input.networks)
full = Stage(len(images.classes), task["steps"])
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
points = points_of_modes(snakemake.input.points, modes, settings["search_steps"], before.seeds)
points = tuple(part.to(engine.device) for part in points)
start = in_modes(before, modes)
strengths = [0.0 if MODES[phase] is None else settings["strength"] for phase in start.phases]
penalty = speed_penalty(points, strengths, settings["noise_draws"], images.mean, images.std)
folder = Path(snakemake.output.networks).with_suffix(".partial")
fingerprint = fingerprint_of(snakemake.input, snakemake.params, *engine.circumstances)
trained, rows = train.run(start, images, plan, engine, folder, fingerprint, log, penalty, stop)

networks.save(snakemake.output.networks, trained, meta)
save_table(snakemake.output.table, label_rows(rows, meta))
shutil.rmtree(folder)
