#!/bin/bash
# Notes that the job is over. How it went no variable tells, so the note does not say.
# Caller: GitHub's Runner.Worker after a job's last step, as the job user, as `bash -e FILE`; the listener's
#   ACTIONS_RUNNER_HOOK_JOB_COMPLETED names it. The job may have changed PATH for it, and that user's every process.
# Inputs: GitHub's default variables below.
# Exits: 0 always, for a failing hook would fail the job.
# Safe: takes ten seconds at most; reads nothing of the environment but FACTS, and writes job/completed.json alone.
set -eEuo pipefail

readonly FACTS=(GITHUB_REPOSITORY GITHUB_RUN_ID GITHUB_RUN_ATTEMPT GITHUB_JOB)

main() {
  local name record facts=()
  for name in "${FACTS[@]}"; do
    facts+=("$name=${!name-}")
  done
  record="$(env -i "PATH=$PATH" "${facts[@]}" timeout --kill-after=1 9 \
    python3 -IBS "$BUNDLE/lib/job_hook.py" completed </dev/null)"
  printf '%s\n' "$record" >"$JOB_DIR/.completed.$$"
  mv -f "$JOB_DIR/.completed.$$" "$JOB_DIR/completed.json"
  echo "job-completed: $record"
}

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
trap '' PIPE
trap 'exit 0' EXIT INT TERM HUP QUIT
# shellcheck source-path=SCRIPTDIR source=../lib/common.sh
. "${BASH_SOURCE[0]%/*}/../lib/common.sh"
main "$@"
