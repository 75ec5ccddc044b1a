# shellcheck shell=bash
# The package repositories that are not Ubuntu's, each trusted for its own packages through its own keyring.
# Caller: provision.
# Inputs: pins.json: where they are, and which keys sign them.
# Safe: the keyring holds the pinned keys and no others; 80-record removes sources and keyrings again, so that a key that
#   expires later breaks no apt-get update of a job.

while IFS=$'\t' read -r name key_url fingerprints entry; do
  keyring="/etc/apt/keyrings/runner-fleet-$name.gpg"
  # shellcheck disable=SC2086 # fingerprints are words
  download "$key_url" "$ROOT$keyring" becomes_keyring $fingerprints
  put "/etc/apt/sources.list.d/runner-fleet-$name.list" <<<"deb [arch=$ARCHITECTURE signed-by=$keyring] $entry"
done <"$WORK/repositories"
apt_update
plan docker gcloud ops-agent gpu
