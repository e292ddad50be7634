#!/usr/bin/env bash
# State of an SGE job: running (also while it waits, or while the scheduler does not answer), success or failed.
queued=$(timeout 30 qstat -j "$1" 2>&1)
if [[ $? -eq 0 || $queued != *"do not exist"* ]]; then
    echo running
    exit
fi
# A finished job is in the accounts, some seconds late.
for pause in 0 2 5 10 20; do
    sleep "$pause"
    if account=$(timeout 30 qacct -j "$1" 2>/dev/null); then
        grep -q '^exit_status *0' <<<"$account" && grep -q '^failed *0' <<<"$account" && echo success || echo failed
        exit
    fi
done
echo failed
