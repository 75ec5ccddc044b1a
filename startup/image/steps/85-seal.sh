# shellcheck shell=bash
# With --seal: takes away whatever must not be in two machines, or in an image at all.
# Caller: provision.
# Inputs: SEAL.
# Safe: last but for the checks: after it this VM is only good for being stopped and captured. The captured disk makes its
#   own identity at its first boot; the bootstrap brings the bundle.

# Accounts that the guest agent made for people who logged in to the builder.
remove_people() {
  local user people="$ROOT/var/lib/google/google_users"
  [[ -f $people ]] || return 0
  while read -r user; do
    [[ $user =~ ^[a-z_][a-z0-9_-]*$ ]] || continue
    within userdel --force --remove "$user" || true
    rm -rf "${ROOT:?}/home/$user"
  done <"$people"
  : >"$people"
}

if [[ $SEAL == true ]]; then
  within systemctl stop google-cloud-ops-agent.service
  within docker system prune --all --force --volumes
  remove_people
  within cloud-init clean --logs
  within journalctl --rotate --vacuum-time=1s
  rm -rf "$ROOT"/var/log/journal/* "$ROOT"/var/lib/dhcp/* "$ROOT"/var/lib/google-cloud-ops-agent/* \
    "$ROOT"/tmp/* "$ROOT"/tmp/.[!.]* "$ROOT"/var/tmp/* "$ROOT"/var/crash/*
  find "$ROOT/var/log" -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \) -delete
  find "$ROOT/var/log" -type f -exec truncate --size 0 {} +
  rm -f "$ROOT"/etc/ssh/ssh_host_* "$ROOT/var/lib/systemd/random-seed" "$ROOT/var/lib/systemd/credential.secret"
  rm -rf "$ROOT"/root/.ssh "$ROOT"/root/.cache "$ROOT"/root/.config/gcloud "$ROOT"/root/.docker
  find "$ROOT/root" "$ROOT/home" -maxdepth 3 \( -name '.*_history' -o -name authorized_keys \) -delete
  # No runner: not its files, not its state, not its units, which the bootstrap would otherwise find enabled.
  rm -rf "$ROOT/opt/actions-runner" "$ROOT"/etc/systemd/system/runner{-,.}* "$ROOT"/etc/systemd/system/*/runner{-,.}*
  find "$ROOT/home/$JOB_USER" -mindepth 1 -delete
  find "$STATE_DIR" -mindepth 1 -maxdepth 1 ! -name provision -exec rm -rf {} +
  find "$RUN_DIR" -mindepth 1 -delete
  mkdir -p "$ROOT/etc"
  : >"$ROOT/etc/machine-id" # empty, not absent: systemd then makes one at the next boot
fi
