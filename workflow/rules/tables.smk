rule tables:
    input:
        parts=table_parts,
    output:
        table=report(
            f"{RESULTS}/tables/{{table}}.csv",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        f"{RESULTS}/logs/tables/{{table}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tables/{{table}}.tsv"
    group:
        "summary"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=memory("tables"),
        runtime=minutes("tables"),
    params:
        code=code("tables"),
    message:
        "Table {wildcards.table} of the run"
    script:
        "../scripts/tables.py"
