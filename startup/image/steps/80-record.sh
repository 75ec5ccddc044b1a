# shellcheck shell=bash
# What was installed, for the manifest, and then nothing left of how: no foreign source, no key, no list, no archive.
# Caller: provision.
# Inputs: apt's lists, which know digests and origins only until they are removed here.
# Safe: fails where a package of the table is missing, or any is there in another version than pinned.

recorded=("${PINNED[@]}" --gpu "$GPU" --scripts "$SCRIPTS" --os-release "$ROOT/etc/os-release")
base_image="$(metadata instance/image 5)" || base_image=''
recorded+=(--base-image "$base_image" --sealed "$SEAL")
for ((at = 1; at < ${#ARCHIVES[@]}; at += 2)); do
  recorded+=(--runner-archive "${ARCHIVES[at]}")
done
python manifest.py record "${recorded[@]}" >"$WORK/image.json" || fail 65 "$STEP: what was installed is not what is pinned"

rm -f "$ROOT"/etc/apt/sources.list.d/runner-fleet-* "$ROOT"/etc/apt/keyrings/runner-fleet-* "$ROOT$PREFERENCES"
within apt-get clean
rm -rf "$ROOT"/var/lib/apt/lists/*
