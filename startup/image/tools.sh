# shellcheck shell=bash
# shellcheck disable=SC2034 # the steps read the figures
# What the steps share: bounded commands, apt, verified downloads, files written whole.
# Caller: sourced by provision after common.sh.
# Inputs: provision's DEADLINE, WORK, IMAGE, PINS; 20-base's PINNED; common.sh's ROOT.
# Safe: every command and every wait ends with the budget; nothing is written half; nothing unverified is kept.

APT_OPTIONS=(--yes -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold)
APT_TRIES=5
DOCKER_TRIES=60 # a second each
DOWNLOAD_TRIES=4

# give_up TEXT…: ends the run with a reason in words.
give_up() {
  fail 1 "$STEP: $*"
}

# within COMMAND…: until the budget is used up. Its output goes to the log.
within() {
  local left=$((DEADLINE - EPOCHSECONDS))
  ((left > 0)) || return 124
  RUNNING="$*"
  timeout --kill-after=10 "$left" "$@" </dev/null >&2
}

# python FILE ARGUMENTS…: a program of this folder, with nothing of the machine's own modules.
python() {
  python3 -I -S -B "$IMAGE/$1" "${@:2}"
}

# put FILE: standard input becomes the whole content of a file below ROOT.
put() {
  local file="$ROOT$1"
  mkdir -p "${file%/*}"
  cat >"$file.new"
  mv -f "$file.new" "$file"
}

# again TRIES COMMAND…: with pauses of 5, 10, 20… seconds.
again() {
  local tries="$1" try pause=5
  shift
  for ((try = 1; ; try++)); do
    ! within "$@" || return 0
    ((try < tries)) || return 1
    log "$STEP: $1 failed; try $((try + 1)) of $tries in $pause s"
    sleep "$pause"
    pause=$((2 * pause))
  done
}

# The lists' lock knows no timeout, and a list that did not come is only a warning unless asked.
apt_update() {
  again "$APT_TRIES" apt-get "${APT_OPTIONS[@]}" update --error-on=any
}

# plan GROUP…: looks up the groups of pins.json in apt's lists, which must be fresh. Refuses, before anything is installed,
# a version that apt does not know and a digest that is not the pinned one.
plan() {
  python manifest.py plan "${PINNED[@]}" "${@/#/--group=}" >"$WORK/plan" || fail 65 "$STEP: what apt offers is not what is pinned"
}

# install_group NAME: the packages of a planned group.
install_group() {
  local names options=()
  names="$(sed -n "s/^$1 //p" "$WORK/plan")"
  mapfile -t names <<<"$names"
  [[ -z $PINS ]] || options=(--allow-downgrades)
  again 2 apt-get "${APT_OPTIONS[@]}" install --no-install-recommends "${options[@]}" "${names[@]}" ||
    give_up "apt could not install the group $1"
}

# download URL FILE VERIFY ARGUMENTS…: the one way in. The file is there only if `VERIFY PART ARGUMENTS…` is true.
download() {
  local url="$1" file="$2" verify="$3"
  shift 3
  mkdir -p "${file%/*}"
  again "$DOWNLOAD_TRIES" curl -q -sSfL --noproxy '*' --proto '=https' --connect-timeout 10 --max-time 300 \
    -o "$file.part" "$url" || give_up "$url could not be fetched"
  if ! "$verify" "$file.part" "$@"; then
    rm -f "$file.part"
    give_up "$url is not what is pinned"
  fi
  mv -f "$file.part" "$file"
}

has_sha256() { # FILE HEX
  local seen
  seen="$(sha256sum <"$1")" || return 1
  [[ ${seen%% *} == "$2" ]]
}

# becomes_keyring FILE FINGERPRINT…: replaces a key file by the binary keyring that apt reads, with the named keys alone.
# A vendor's file may carry more keys than we trust.
becomes_keyring() {
  local file="$1" home="$WORK/gnupg" found fingerprint
  shift
  rm -rf "$home"
  mkdir -m 0700 "$home"
  gpg --homedir "$home" --batch --quiet --import "$file" || return 1
  gpg --homedir "$home" --batch --quiet --export "$@" >"$file.keyring" || return 1
  mv -f "$file.keyring" "$file"
  found="$(gpg --homedir "$home" --batch --show-keys --with-colons "$file" |
    awk -F: '$1 == "pub" { primary = 1 } $1 == "fpr" && primary { print $10; primary = 0 }')" || return 1
  [[ -n $found ]] || return 1
  while read -r fingerprint; do
    [[ " $* " == *" $fingerprint "* ]] || return 1
  done <<<"$found"
}

# check STATEMENT COMMAND…: one line, `ok` or `FAILED`.
check() {
  local statement="$1"
  shift
  if "$@" >/dev/null 2>&1; then
    log "ok      $statement"
  else
    log "FAILED  $statement"
    UNTRUE+=("$statement")
  fi
}

is() { [[ "$("${@:2}")" == "$1" ]]; } # TEXT COMMAND…
absent() {                            # PATH…: none of these is there
  local path
  for path; do
    [[ ! -e $path && ! -L $path ]] || return 1
  done
}
