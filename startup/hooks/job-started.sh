#!/bin/bash
# Lets a job begin, or ends it for good: a failing hook alone would not, since GitHub still runs steps with always().
# Caller: GitHub's Runner.Worker before a job's first step, as the job user, as `bash -e FILE`; the listener's
#   ACTIONS_RUNNER_HOOK_JOB_STARTED names it. lib/job_hook.py runs it again as FILE refuse WORKER REASON RECORD.
# Inputs: GitHub's default variables below, the event's payload, policy.json.
# Exits: 0 the job may run. All else is a refusal: the worker is dead, or was not found and the hook fails.
# Safe: whatever is not an explicit "allowed" in time is a refusal, a signal too. This shell and the decider watch each
#   other, so a kill of one leaves the other to end the worker. Nothing of the environment but FACTS is read.
set -eEuo pipefail

readonly FACTS=(GITHUB_EVENT_NAME GITHUB_EVENT_PATH GITHUB_REF GITHUB_REPOSITORY GITHUB_WORKFLOW_REF GITHUB_ACTOR
  GITHUB_RUN_ID GITHUB_RUN_ATTEMPT GITHUB_JOB)
readonly DECISION_SECONDS=20 # for the verdict; a payload of the largest size takes a fraction of it
readonly LOG_SECONDS=0.6     # the worker sends the job's log every 0.25 s, later every 0.5 s (its JobServerQueue.cs)
readonly UNDECIDED="the hook came to no decision within $DECISION_SECONDS s, or failed"

# parent PID: sets PARENT; false where there is no such process.
parent() {
  local stat=''
  IFS='' read -r -d '' stat 2>/dev/null <"/proc/$1/stat" || [[ $stat ]] || return 1
  stat="${stat##*) ? }"
  PARENT="${stat%% *}"
}

is_worker() {
  local name=''
  read -r name 2>/dev/null <"/proc/$1/comm" && [[ $name == Runner.Worker ]]
}

# find_worker: sets WORKER to the nearest process above this one that is GitHub's worker, or to 0.
find_worker() {
  WORKER=$$
  until is_worker "$WORKER"; do
    parent "$WORKER" && WORKER="$PARENT" || WORKER=0
    ((WORKER > 1)) || break
  done
  ((WORKER > 1)) || WORKER=0
}

gone() {
  local stat=''
  IFS='' read -r -d '' stat 2>/dev/null <"/proc/$1/stat" || [[ $stat ]] || return 0
  [[ ${stat##*) } == [ZX]* ]]
}

# below: adds to TREE, whose indexes are process ids, all processes below those in it.
below() {
  local entry pid grown=1
  local -a above=()
  for entry in /proc/[0-9]*; do
    ! parent "${entry##*/}" || above["${entry##*/}"]="$PARENT"
  done
  while ((grown)); do
    grown=0
    for pid in "${!above[@]}"; do
      if [[ ! -v TREE[pid] && -v TREE[${above[pid]}] ]]; then
        TREE[pid]=1 grown=1
      fi
    done
  done
}

# signal_tree NAME: to all in TREE but this shell.
signal_tree() {
  local pid
  for pid in "${!TREE[@]}"; do
    ((pid == $$)) || kill "-$1" "$pid" 2>/dev/null || true
  done
}

# end_worker: kills the worker, which starts nothing from its first signal on, then all below it. Those are stopped
# until no new one is seen, so that none can fork and leave. False where no worker was found or it does not die.
end_worker() {
  local seen=0
  local -a TREE=()
  ((WORKER)) || return 1
  is_worker "$WORKER" || return 0
  kill -STOP "$WORKER" 2>/dev/null || true
  TREE[WORKER]=1
  TREE[$$]=1
  below
  kill -KILL "$WORKER" 2>/dev/null || true
  for _ in {1..20}; do
    ((${#TREE[@]} > seen)) || break
    seen=${#TREE[@]}
    signal_tree STOP
    below
  done
  signal_tree KILL
  for _ in {1..50}; do
    ! gone "$WORKER" || return 0
    sleep 0.1
  done
  return 1
}

# record NAME JSON: written whole or not at all.
record() {
  printf '%s\n' "$2" >"$JOB_DIR/.$1.$$"
  mv -f "$JOB_DIR/.$1.$$" "$JOB_DIR/$1.json"
}

# tell REASON: to the job's author, in the job's log, and as what the worker last said on stderr: the listener makes an
# annotation of that when the worker dies (its JobDispatcher.cs), and the log may not arrive.
tell() {
  local text="This runner does not run the job. $1."
  echo "job-started: refused: $1" >&2
  echo "$text" >&2
  echo 'No step of the job runs, not even one with always(); the runner ends here.' >&2
  echo "To run it, use a runner label whose trust level allows this; the runner's operators keep the list." >&2
  ((WORKER == 0)) || timeout 1 tee -a "/proc/$WORKER/fd/2" <<<"$text" >/dev/null 2>&1 || true
}

# own_record REASON: for a decider that gave none.
own_record() {
  local time repository="${GITHUB_REPOSITORY-}" run_id="${GITHUB_RUN_ID-}"
  repository="${repository:0:100}" run_id="${run_id:0:20}"
  printf -v time '%(%FT%TZ)T' -1
  printf '{"reason": "%s", "repository": "%s", "run_id": "%s", "time": "%s"}' \
    "$1" "${repository//[^A-Za-z0-9_.\/-]/?}" "${run_id//[^0-9]/?}" "$time"
}

# refuse REASON [RECORD]: ends the job, whatever fails on the way. Does not return.
refuse() {
  set +eE
  trap '' INT TERM HUP QUIT
  trap - EXIT
  tell "$1"
  ((TAKEN_OVER)) || sleep "$LOG_SECONDS" >/dev/null 2>&1
  [[ ! ${JOB_DIR-} ]] || record refused "${2:-$(own_record "$1")}"
  if ! end_worker; then
    echo "job-started: no worker to kill above this process, or it does not die ($WORKER); the step fails" >&2
    ((DECIDER == 0)) || kill -KILL "$DECIDER" 2>/dev/null
    wait
  fi
  [[ ! ${RUNNER_DIR-} ]] ||
    timeout 20 find "$RUNNER_DIR/_work/_actions" "$RUNNER_DIR/_work/_temp" -mindepth 1 -delete 2>/dev/null
  exit 1
}

# decide: what the decider says, on two lines. It is this shell's child, so that the kernel tells it of this shell's end.
decide() {
  local name facts=()
  for name in "${FACTS[@]}"; do
    facts+=("$name=${!name-}")
  done
  exec env -i "PATH=$PATH" "${facts[@]}" python3 -IBS "$BUNDLE/lib/job_hook.py" started \
    --policy "$RUN_DIR/policy.json" --hook "$BUNDLE/hooks/$SCRIPT" --worker "$WORKER" --shell-pid $$ </dev/null
}

main() {
  local verdict='' line='' answer
  if [[ ${1-} == refuse ]]; then
    WORKER="$2" TAKEN_OVER=1
    refuse "$3" "$4"
  fi
  exec {answer}< <(decide)
  DECIDER=$!
  read -r -t "$DECISION_SECONDS" -u "$answer" verdict || refuse "$UNDECIDED"
  read -r -t 1 -u "$answer" line || refuse "$UNDECIDED"
  [[ $verdict != 'refused: '* ]] || refuse "${verdict#refused: }" "$line"
  read -r -t 5 -u "$answer" || (($? == 1)) || refuse "$UNDECIDED" # 1 is its end; to go before it would alarm it
  wait "$DECIDER" || refuse "$UNDECIDED"
  [[ $verdict == allowed ]] || refuse "$UNDECIDED"
  record started "$line"
  echo "job-started: $line"
  trap - EXIT
}

WORKER=0 DECIDER=0 TAKEN_OVER=0
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C TZ=UTC
trap '' PIPE
trap 'refuse "the hook failed"' EXIT
trap 'refuse "the hook was stopped by a signal"' INT TERM HUP QUIT
find_worker
# shellcheck source-path=SCRIPTDIR source=../lib/common.sh
. "${BASH_SOURCE[0]%/*}/../lib/common.sh"
main "$@"
