# Validation, names of files, and what the rules share.

import copy
import shlex
import sys
from pathlib import Path

# From this file's place and not from the main Snakefile's: that may be another workflow's, of which this is a module.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
LIBRARY = ROOT / "workflow" / "lib"
sys.path.insert(0, str(LIBRARY))
if os.pathsep in str(LIBRARY):
    raise WorkflowError(
        f"{ROOT}: expected a path without {os.pathsep}, which parts the folders of PYTHONPATH. Move it."
    )
# Snakemake hands the interpreter's path to a shell as it is, in which a space or a bracket has a meaning.
if not sys.executable.startswith("'"):
    sys.executable = shlex.quote(sys.executable)
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from memrnn import figures
from memrnn.data import sources
from memrnn.data.downloads import COLLECTIONS
from memrnn.run import config as configuration
from memrnn.run import digests, planning
from memrnn.run.stages import BLOCKWISE, JOINED, STAGES, TRAINERS

planning.use_library(LIBRARY)
DEFAULTS = load_configfile(ROOT / "config" / "config.yaml")
MODULE = not workflow.modifier.is_main_snakefile()  # of another workflow, whose `config:` names what differs
if MODULE:
    if workflow.modifier.path_modifier.prefix:
        raise WorkflowError(
            "module: found a prefix; expected none, because a run has its folder: results/<config.run>/."
        )
    whole = copy.deepcopy(DEFAULTS)
    update_config(whole, config)
    config.update(whole)
else:  # of `--config 'seeds=[0,1]'`, Snakemake reads what stands in brackets as text
    update_config(config, configuration.retyped(workflow.config_settings.config))

try:
    configuration.check_files([] if MODULE else map(os.path.relpath, workflow.configfiles))
    configuration.validate(config, ROOT / "workflow" / "schemas" / "config.schema.yaml")
except configuration.ConfigError as error:
    raise WorkflowError(error)
if workflow.overwrite_configfiles and "run" not in workflow.config_settings.overwrite_config and not MODULE:
    raise WorkflowError(
        f"run: missing in {', '.join(map(str, workflow.overwrite_configfiles))}; expected a name for these settings, such "
        f"as `run: mine`, because results/{config['run']}/ holds those of config/config.yaml. To go on there all the "
        f"same, add --config run={config['run']}."
    )
if config["threads"] > (workflow.resource_settings.cores or config["threads"]):
    logger.warning(
        f"threads: configured {config['threads']}, but a job gets {workflow.resource_settings.cores}, as many as --cores "
        "allows; last digits of numbers may differ from those of a run with more."
    )
for settings in (config, DEFAULTS):
    planning.put_in_order(settings)

RESULTS = f"results/{config['run']}"
DATASET = config["dataset"]["source"]
BLOCKS = planning.blocks(config["seeds"], config["block_size"])
ENSEMBLES = planning.ensembles(config)
MAX_DELAY = config["task"]["steps"]
CLASSES = len(sources.class_names(config["dataset"]))
JOBS = {name: stage.jobs(config) for name, stage in STAGES.items()}  # wildcards of each
PROVENANCE = Path(RESULTS, "provenance.json")
SETTINGS = dict(config)  # as validated; what follows adds to `config` for Snakemake's own report alone
config["captions"] = {path.stem: path.read_text(encoding="utf-8") for path in Path(RESULTS, "figures").glob("*.txt")}


wildcard_constraints:
    cell="|".join(config["cells"]),
    protocol="|".join(config["protocols"]),
    stage="|".join(TRAINERS),
    seeds="|".join(BLOCKS),
    table="|".join(JOINED),
    figure="|".join(figures.FIGURES),


def code(script, module=None):
    """Function of wildcards to the digest of the code that makes a job's numbers; an edit of it runs the job again.

    `module`, with wildcards, is one that the script loads by name.
    """
    penalties = (settings["penalty"] for settings in planning.modes(config).values() if "penalty" in settings)
    chosen = {DATASET, config["network"]["front_end"], *penalties}

    def digest(wildcards):
        used = chosen | {wildcards[name] for name in ("cell", "protocol", "figure") if name in wildcards.keys()}
        more = [module.format(**wildcards)] if module else []
        return digests.of_code(ROOT / "workflow" / "scripts" / f"{script}.py", LIBRARY, used, more)

    return digest


def of_jobs(stage, *patterns):
    """Paths of a stage's jobs, by patterns with wildcards."""
    return [str(pattern).format(**wildcards) for pattern in patterns for wildcards in JOBS[stage]]


def table_parts(wildcards):
    """Tables of all jobs that a table of the run joins."""
    return [
        path
        for name, stage in STAGES.items()
        if wildcards.table in stage.tables
        for path in of_jobs(name, getattr(getattr(rules, stage.rule).output, stage.tables[wildcards.table]))
    ]
