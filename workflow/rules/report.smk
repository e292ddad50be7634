rule report:
    input:
        template=os.path.relpath(ROOT / "workflow" / "report" / "page.html.jinja"),
        claims=rules.claims.output.claims,
        numbers=rules.claims.output.numbers,
        png=of_jobs("figures", rules.figure.output.png),
        svg=of_jobs("figures", rules.figure.output.svg),
        captions=of_jobs("figures", rules.figure.output.caption),
        provenance=rules.provenance.output.provenance,
    output:
        report=f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    localrule: True
    conda:
        "../../envs/memrnn.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        code=code("report"),
        defaults=DEFAULTS,
        left_out=sources.left_out(config["dataset"]),
    message:
        "Page of the run"
    script:
        "../scripts/report.py"
