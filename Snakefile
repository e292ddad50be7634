# Memory in recurrent neural networks: Haviv, Rivkind & Barak (2019), from images to verdicts on the paper's claims.

from snakemake.utils import min_version

min_version("9.0")


configfile: os.path.relpath(f"{workflow.basedir}/config/config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/allowances.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/trials.smk"
include: "workflow/rules/slow_points.smk"
include: "workflow/rules/other_starts.smk"
include: "workflow/rules/spectrum.smk"
include: "workflow/rules/portraits.smk"
include: "workflow/rules/backtrack.smk"
include: "workflow/rules/regularise.smk"
include: "workflow/rules/extrapolate.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/correlate.smk"
include: "workflow/rules/formation.smk"
include: "workflow/rules/predictors.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/jobs.smk"
include: "workflow/rules/provenance.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
