#!/usr/bin/env bash
# Stand-in for the commands of SGE, PBS and LSF, as far as the profile cluster-generic calls them; the command's own name
# says which is meant. A job starts at once, in the background; $SCHEDULER is a folder, or a file where the scheduler is down.
set -u
[[ -d $SCHEDULER ]] || { echo "cannot reach the scheduler" >&2; exit 1; }
command=$(basename "$0")
job=${*: -1}
job=${job%%.*}
echo "$command $*" >>"$SCHEDULER/called"
state=$SCHEDULER/$job

case $command in
    qsub | bsub)
        id=$(($(ls "$SCHEDULER" | grep -c '\.pid$') + 1))
        setsid bash -c "bash '${*: -1}'; echo \$? >'$SCHEDULER/$id'" </dev/null >"$SCHEDULER/$id.log" 2>&1 &
        echo $! >"$SCHEDULER/$id.pid"
        if [[ $command == bsub ]]; then
            echo "Job <$id> is submitted to default queue <normal>."
        elif [[ $* == *-terse* ]]; then
            echo "$id"
        else
            echo "$id.server"
        fi
        ;;
    qdel | bkill)
        for each in "$@"; do
            kill -- "-$(<"$SCHEDULER/${each%%.*}.pid")"
            echo 143 >"$SCHEDULER/${each%%.*}"
        done
        ;;
    qacct)
        [[ -f $state ]] || exit 1
        printf 'jobname      x\nfailed       0\nexit_status  %s\n' "$(<"$state")"
        ;;
    qstat)
        if [[ $1 == -j ]]; then # SGE forgets finished jobs
            [[ -f $SCHEDULER/$job.pid && ! -f $state ]] || { echo "Following jobs do not exist: $job" >&2; exit 1; }
        elif [[ ! -f $SCHEDULER/$job.pid ]]; then
            echo "qstat: Unknown Job Id $job.server" >&2
            exit 153
        elif [[ -f $state ]]; then
            printf 'Job Id: %s.server\n    job_state = F\n    Exit_status = %s\n' "$job" "$(<"$state")"
        else
            printf 'Job Id: %s.server\n    job_state = R\n' "$job"
        fi
        ;;
    bjobs)
        if [[ ! -f $SCHEDULER/$job.pid ]]; then
            echo "Job <$job> is not found" >&2
            exit 255
        elif [[ ! -f $state ]]; then
            echo RUN
        else
            [[ $(<"$state") == 0 ]] && echo DONE || echo EXIT
        fi
        ;;
esac
