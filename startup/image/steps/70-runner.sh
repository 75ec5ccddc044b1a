# shellcheck shell=bash
# The job user, and GitHub's runner archives that the bake asked for.
# Caller: provision.
# Inputs: ARCHIVES: URL and SHA-256 in turn.
# Safe: the user has its own group and no other, no password, no sudo; bin/contain adds what the machine class allows.

RUNNER_ARCHIVES=/opt/runner-archives

getent passwd "$JOB_USER" >/dev/null ||
  within useradd --system --user-group --create-home --home-dir "/home/$JOB_USER" --shell /bin/bash "$JOB_USER"
mkdir -p "$ROOT/home/$JOB_USER" "$ROOT$RUNNER_ARCHIVES"

for ((at = 0; at < ${#ARCHIVES[@]}; at += 2)); do
  archive="$ROOT$RUNNER_ARCHIVES/${ARCHIVES[at + 1]}.tar.gz"
  if [[ ! -f $archive ]] || ! has_sha256 "$archive" "${ARCHIVES[at + 1]}"; then
    download "${ARCHIVES[at]}" "$archive" has_sha256 "${ARCHIVES[at + 1]}"
  fi
done
