#!/usr/bin/env bash
# State of an LSF job: running (also while it waits, or while the system does not answer), success or failed.
case $(timeout 30 bjobs -noheader -o stat "$1" 2>&1 | tail -1) in
    DONE) echo success ;;
    EXIT | ZOMBI | *"not found"*) echo failed ;;
    *) echo running ;;
esac
