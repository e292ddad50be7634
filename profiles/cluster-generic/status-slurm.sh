#!/usr/bin/env bash
# State of a Slurm job: running (also while it waits, or while the controller does not answer), success or failed.
found=$(timeout 30 scontrol --oneliner show job "$1" 2>&1)
state=$(grep -o -m1 'JobState=[A-Z_]*' <<<"$found")
if [[ -z $state ]]; then
    if [[ $found != *"Invalid job id"* ]]; then
        echo running
        exit
    fi
    # The controller forgets finished jobs after a while (MinJobAge); the accounts, where they are kept, do not.
    state=$(timeout 30 sacct --allocations --noheader --parsable2 --format=State --jobs "$1" 2>/dev/null | head -1)
fi
case ${state#JobState=} in
    COMPLETED) echo success ;;
    PENDING | CONFIGURING | RUNNING | COMPLETING | SUSPENDED | REQUEUED | REQUEUE_* | RESIZING | SIGNALING | STAGE_OUT | STOPPED) echo running ;;
    *) echo failed ;;
esac
