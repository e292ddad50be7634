#!/usr/bin/env bash
# State of a PBS or Torque job: running (also while it waits, or while the server does not answer), success or failed.
# Finished jobs must be kept for a while: PBS's job_history_enable, Torque's keep_completed.
found=$(timeout 30 qstat -x -f "$1" 2>&1) || found+=$(timeout 30 qstat -f "$1" 2>&1)
case $(grep -o -m1 'job_state = [A-Z]' <<<"$found") in
    *[CFX]) grep -q -i 'exit_status = 0$' <<<"$found" && echo success || echo failed ;;
    ?*) echo running ;;
    *) [[ $found == *"Unknown Job"* || $found == *"nknown job id"* ]] && echo failed || echo running ;;
esac
