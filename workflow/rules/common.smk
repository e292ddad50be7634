# Validation, names of files, and what the rules share.

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
from memrnn.core.files import load_json
from memrnn.data import sources
from memrnn.data.downloads import COLLECTIONS
from memrnn.models.cells import TITLES
from memrnn.run import config as configuration
from memrnn.run import planning

planning.use_library(LIBRARY)
MODULE = not workflow.modifier.is_main_snakefile()  # of another workflow, whose `config:` names what differs
if MODULE:
    if workflow.modifier.path_modifier.prefix:
        raise WorkflowError(
            "module: found a prefix; expected none, because a run has its folder: results/<config.run>/."
        )
    whole = load_configfile(ROOT / "config" / "config.yaml")
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
planning.put_in_order(config)

RESULTS = f"results/{config['run']}"
DATASET = config["dataset"]["source"]
BLOCKS = planning.blocks(config["seeds"], config["block_size"])
ENSEMBLES = planning.ensembles(config)
MAX_DELAY = config["task"]["steps"]
FIRST_BLOCK = list(BLOCKS)[:1]  # its first network is the one that pictures show
CLASSES = len(sources.class_names(config["dataset"]))
# tables with a part from every block that they are about
JOINED = ["training", "extrapolation", "slow_points", "spectrum", "portraits", "backtrack", "confusion"]
NUMBERS = Path(RESULTS, "tables", "numbers.json")
PREDICTOR_NUMBERS = Path(RESULTS, "tables", "predictors.json")
PROVENANCE = Path(RESULTS, "provenance.json")
SETTINGS = dict(config)  # as validated; what follows adds to `config` for the report alone
config["left_out"] = sources.left_out(config["dataset"])
config["titles"] = TITLES
for name, path in {"numbers": NUMBERS, "predictors": PREDICTOR_NUMBERS, "provenance": PROVENANCE}.items():
    if path.is_file():
        try:
            config[name] = load_json(path)  # the captions and the report's first page state them
        except ValueError as error:
            raise WorkflowError(error)
config["captions"] = {path.stem: path.read_text() for path in Path(RESULTS, "figures").glob("*.txt")}


wildcard_constraints:
    cell="|".join(config["cells"]),
    protocol="|".join(config["protocols"]),
    stage="train|regularise",
    seeds="|".join(BLOCKS),
    table="|".join(JOINED),
    figure="|".join(figures.FIGURES),


def library(stem, *modules):
    """A script, modules that it loads by name, and all that these import: an edit of one re-runs its rules, a move of
    the clone none.

    An interrupted training goes on only where its inputs are the same, so the script must be one of them.
    """
    script = ROOT / "workflow" / "scripts" / f"{stem}.py"
    behind = {path for file in (script, *modules) for path in planning.library_files(file, LIBRARY)}
    return list(map(os.path.relpath, [script, *modules, *sorted(behind)]))


def per_block(pattern, stages=("train", "regularise"), blocks=BLOCKS):
    """Files of a pattern with {stage}, {cell}, {protocol} and {seeds} for every block of these stages."""
    return [
        str(pattern).format(stage=stage, cell=cell, protocol=protocol, seeds=seeds)
        for stage in stages
        for cell, protocol in ENSEMBLES[stage]
        for seeds in blocks
    ]


def table_parts(wildcards):
    """Tables of all blocks that a table of the run joins."""
    if wildcards.table == "training":
        return per_block(f"{RESULTS}/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.csv")
    if wildcards.table == "spectrum":
        return per_block(rules.spectrum_block.output.table, ["train"])
    if wildcards.table == "portraits":
        return per_block(rules.portraits_block.output.table, ["train"], FIRST_BLOCK)
    followed = {"backtrack": rules.backtrack_block.output.table, "confusion": rules.backtrack_block.output.confusion}
    if wildcards.table in followed:
        return per_block(followed[wildcards.table], ["backtrack"])
    block = {"extrapolation": rules.extrapolate_block, "slow_points": rules.slow_points_block}[wildcards.table]
    return per_block(block.output.table)
