# shellcheck shell=bash disable=SC2034 # who sources this uses the places
# What the scripts of the boot bundle share: places, log lines, failure, metadata, calls to the fleet's services.
# Caller: sourced first by every script in bin/, which must set -eEuo pipefail itself.
# Inputs: GCE_METADATA_HOST, set by tests alone. All other places follow from where this file lies, so that nothing in
#   the environment can lead a script astray: below /opt/runner-fleet/DIGEST the root is /, in a test it is a folder.
# Safe: no token is ever in an argument, in the environment, in a file or in a log line.

SCRIPT="${0##*/}"
BUNDLE="$(cd "${BASH_SOURCE[0]%/*}/.." && pwd -P)"
ROOT="${BUNDLE%/opt/runner-fleet/*}"
RUN_DIR="$ROOT/run/runner-fleet"       # this boot's state: root's, readable by all
JOB_DIR="$RUN_DIR/job"                 # what the hooks record: the job user's, so never proof against that user
STATE_DIR="$ROOT/var/lib/runner-fleet" # what survives a reboot
RUNNER_DIR="$ROOT/opt/actions-runner"  # GitHub's runner, the job user's
JOB_USER=runner
METADATA_URL="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1"
METADATA_BUDGET_SECONDS=30 # tries and pauses for one value of the metadata server
readonly SCRIPT BUNDLE ROOT RUN_DIR JOB_DIR STATE_DIR RUNNER_DIR JOB_USER METADATA_URL METADATA_BUDGET_SECONDS
[[ -d $RUN_DIR ]] || mkdir -p "$RUN_DIR"

# log TEXT…: one line on stderr, whatever the text holds.
log() {
  local text="$*"
  printf '%s: %s\n' "$SCRIPT" "${text//[[:cntrl:]]/ }" >&2
}

# fail CODE TEXT…: says why, keeps it for the record of how this VM ended, and exits.
fail() {
  local code="$1"
  shift
  log "$*"
  (umask 022 && printf '%s: %s\n' "$SCRIPT" "${*//[[:cntrl:]]/ }" >"$RUN_DIR/failure") || true
  exit "$code"
}

# pause: sleeps and doubles BACKOFF, with up to as much again at random; fails when LEFT would run out. The caller sets
# BACKOFF and LEFT, and SECONDS=0 before each try.
pause() {
  local seconds=$((BACKOFF + RANDOM % (BACKOFF + 1)))
  LEFT=$((LEFT - SECONDS - seconds))
  ((LEFT > 0)) || return 1
  log "$1; next try in $seconds s"
  sleep "$seconds"
  BACKOFF=$((BACKOFF < 16 ? 2 * BACKOFF : 16))
}

# metadata PATH [BUDGET_SECONDS]: a value of the metadata server, such as instance/id. 44 where there is no such value.
metadata() {
  local BACKOFF=1 LEFT="${2:-$METADATA_BUDGET_SECONDS}" reply status
  while :; do
    SECONDS=0
    reply="$(curl -q -sS --noproxy '*' --connect-timeout 2 --max-time 5 -H 'Metadata-Flavor: Google' \
      -w '\n%{http_code}' "$METADATA_URL/$1" 2>/dev/null)" || reply=$'\n000'
    status="${reply##*$'\n'}" reply="${reply%$'\n'*}"
    case "$status" in
      200) printf '%s' "$reply" && return ;;
      404) return 44 ;;
    esac
    pause "metadata $1: HTTP $status" || return 1
  done
}

# known NAME [BUDGET_SECONDS]: a runner-* attribute of the contract in fleet/metadata.py, asked for once per boot. 44
# where this VM has none, 45 where the metadata server did not tell; it is for the caller to say whether that matters.
known() {
  local name="$1" cached="$RUN_DIR/attributes/$1" names value code=0
  names="$(<"$BUNDLE/lib/attributes.txt")"
  [[ $'\n'"$names"$'\n' == *$'\n'"$name"$'\n'* ]] ||
    fail 64 "attribute $name is not in the contract; lib/attributes.txt lists the attributes"
  if [[ -f $cached ]]; then
    printf '%s' "$(<"$cached")"
    return
  fi
  value="$(metadata "instance/attributes/$name" "${2:-$METADATA_BUDGET_SECONDS}")" || code=$?
  case $code in
    0) ;;
    44) return 44 ;;
    *) return 45 ;;
  esac
  # A full disk must not leave half a value for whoever asks next.
  { mkdir -p "${cached%/*}" && printf '%s' "$value" >"$cached.$BASHPID" && mv "$cached.$BASHPID" "$cached"; } ||
    rm -f "$cached.$BASHPID"
  printf '%s' "$value"
}

# attribute NAME: the same, for a script that cannot go on without it.
attribute() {
  local code=0
  known "$1" || code=$?
  case $code in
    0) ;;
    44) fail 44 "attribute $1: this VM's template has none; make a new version of it" ;;
    *) fail 45 "attribute $1: the metadata server did not tell it within $METADATA_BUDGET_SECONDS s" ;;
  esac
}

# identity AUDIENCE BUDGET_SECONDS: this VM's signed identity token with all claims about the instance.
identity() {
  local token
  token="$(metadata "instance/service-accounts/default/identity?audience=$1&format=full" "$2")" || return 1
  [[ $token =~ ^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$ ]] || return 1
  printf '%s' "$token"
}

# uptime_seconds: since the kernel started, whole seconds; a clock that nobody sets.
uptime_seconds() {
  local since
  read -r since _ </proc/uptime
  printf '%s' "${since%.*}"
}

# claim FILE TEXT: writes a file of RUN_DIR that only the first can write; false for all who come later. Nobody ever
# sees it without its text.
claim() {
  local mine="$RUN_DIR/.$1.$BASHPID" code=0
  { printf '%s\n' "$2" >"$mine" && ln -T "$mine" "$RUN_DIR/$1"; } 2>/dev/null || code=1
  rm -f "$mine"
  return "$code"
}

# call METHOD URL AUDIENCE REPLY_FILE BUDGET_SECONDS: a request that carries this VM's identity. Sets STATUS, 000 where
# there was no answer. Tries again what may pass: no answer, 408, 429, 5xx. True for 2xx, false for all else.
# Takes at most BUDGET_SECONDS and 15 s.
call() {
  local method="$1" url="$2" audience="$3" reply="$4" BACKOFF=1 LEFT="$5" token most
  while :; do
    SECONDS=0 STATUS=000
    most=$((LEFT < 60 ? LEFT : 60))
    # -d '' makes curl say Content-Length: 0; Google's front end refuses a POST that says no length.
    if token="$(identity "$audience" "$((LEFT < 10 ? LEFT : 10))")"; then
      STATUS="$(curl -q -sS --noproxy '*' --connect-timeout 5 --max-time "$most" --max-filesize 1048576 \
        -X "$method" -d '' -H @- -o "$reply" -w '%{http_code}' "$url" 2>/dev/null <<<"Authorization: Bearer $token")" ||
        STATUS=000
    fi
    case "$STATUS" in
      2??) return 0 ;;
      000 | 408 | 429 | 5??) pause "$method $url: HTTP $STATUS" || return 1 ;;
      *) return 1 ;;
    esac
  done
}
