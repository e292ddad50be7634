def parts(wildcards):
    """Tables of all blocks that a table of the run joins."""
    if wildcards.table == "training":
        return per_block(f"{RESULTS}/{{stage}}/{{cell}}-{{protocol}}/{{seeds}}.csv")
    block = {"extrapolation": rules.extrapolate_block, "slow_points": rules.slow_points_block}[wildcards.table]
    return per_block(block.output.table)


rule tables:
    input:
        parts=parts,
        library=library("tables"),
    output:
        table=report(
            f"{RESULTS}/tables/{{table}}.csv",
            caption="../report/tables.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{table}}.tsv"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "Table {wildcards.table} of the run"
    script:
        "../scripts/tables.py"
