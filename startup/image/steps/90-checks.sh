# shellcheck shell=bash
# The statements that make this disk a runner image, each looked at and said.
# Caller: provision.
# Inputs: all that the steps left.
# Safe: changes nothing. One that is not true fails the run, so that there is no manifest.

UNTRUE=()

only_ubuntu_sources() {
  local sources
  sources="$(grep -rhsE '^[[:space:]]*(deb|URIs:)' "$ROOT/etc/apt/sources.list" "$ROOT/etc/apt/sources.list.d")"
  ! grep -qv 'ubuntu\.com' <<<"$sources"
}
composite_uploads_off() {
  is False env CLOUDSDK_CONFIG="$WORK/gcloud" timeout 60 gcloud config get storage/parallel_composite_upload_enabled
}
archives_are_whole() {
  local at
  for ((at = 1; at < ${#ARCHIVES[@]}; at += 2)); do
    has_sha256 "$ROOT$RUNNER_ARCHIVES/${ARCHIVES[at]}.tar.gz" "${ARCHIVES[at]}" || return 1
  done
}
no_history() { [[ -z "$(find "$ROOT/root" "$ROOT/home" -maxdepth 3 \( -name '.*_history' -o -name authorized_keys \))" ]]; }
logs_are_empty() { [[ -z "$(find "$ROOT/var/log" -type f -size +0)" ]]; }
home_is_empty() { [[ -z "$(find "$ROOT/home/$JOB_USER" -mindepth 1)" ]]; }

for unit in apt-daily.timer apt-daily-upgrade.timer unattended-upgrades.service; do
  check "$unit is masked" is masked systemctl is-enabled "$unit"
done
check 'snapd is gone' absent "$ROOT/usr/bin/snap"
check 'apt knows no source but Ubuntu' only_ubuntu_sources
check 'no key and no pin of ours is left' absent "$ROOT"/etc/apt/keyrings/runner-fleet-* "$ROOT$PREFERENCES"
check "$JOB_USER is in its own group only" is "$JOB_USER" id -nG "$JOB_USER"
check "$JOB_USER has a home" test -d "$ROOT/home/$JOB_USER"
check 'gcloud makes no composite uploads' composite_uploads_off
check 'the Ops Agent has our configuration' cmp "$IMAGE/ops-agent.yaml" "$ROOT/etc/google-cloud-ops-agent/config.yaml"
check 'the runner archives are whole' archives_are_whole
check 'Docker answers' timeout 60 docker info
[[ $SEAL == true ]] || check 'the Ops Agent runs' systemctl is-active google-cloud-ops-agent.service
[[ $ARCHITECTURE != amd64 ]] || check 'addresses are spread over 28 bits' is 28 sysctl --values vm.mmap_rnd_bits
if [[ $GPU == true ]]; then
  check 'a GPU answers' timeout 60 nvidia-smi -L
  check 'Docker knows the NVIDIA runtime' grep -q nvidia "$ROOT/etc/docker/daemon.json"
fi
if [[ $SEAL == true ]]; then
  check 'there is no machine id' cmp "$ROOT/etc/machine-id" /dev/null
  check 'there is no SSH host key' absent "$ROOT"/etc/ssh/ssh_host_*
  check 'there is no history and no authorized key' no_history
  check 'the logs are empty' logs_are_empty
  check 'there is no runner' absent "$RUNNER_DIR" "$RUN_DIR"/* "$ROOT"/etc/systemd/system/runner{-,.}*
  check "$JOB_USER's home is empty" home_is_empty
fi
((${#UNTRUE[@]} == 0)) || give_up "${#UNTRUE[@]} not true:$(printf ' %s;' "${UNTRUE[@]}")"
