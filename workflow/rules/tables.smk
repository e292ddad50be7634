rule tables:
    input:
        parts=table_parts,
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
    group:
        "summary"
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=by_networks(1000, 0.3),
        runtime=by_networks(10, 0.001),
    params:
        code=code("tables"),
    message:
        "Table {wildcards.table} of the run"
    script:
        "../scripts/tables.py"
