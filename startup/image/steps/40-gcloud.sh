# shellcheck shell=bash
# gcloud from Google's package instead of Ubuntu's snap, and no snapd: snaps update themselves, which cannot be turned off.
# Caller: provision.
# Inputs: the repository of 30-sources.
# Safe: the setting below holds for every user of this installation, not only for whoever runs this.

within apt-get "${APT_OPTIONS[@]}" purge snapd || give_up 'snapd could not be removed'
put /etc/apt/preferences.d/runner-fleet-no-snapd <<'END'
Package: snapd
Pin: release *
Pin-Priority: -10
END
install_group gcloud
# A composite upload deletes its parts afterwards. Runners may create objects and not delete any.
CLOUDSDK_CONFIG="$WORK/gcloud" within gcloud --quiet config set --installation storage/parallel_composite_upload_enabled False
