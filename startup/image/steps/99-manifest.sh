# shellcheck shell=bash
# The manifest takes its place: from now on these scripts have nothing to do here.
# Caller: provision.
# Inputs: WORK/image.json of 80-record.
# Safe: one rename, after which nothing can fail. A sealed disk also loses the bundle: the digest in a VM's template must
#   vouch for every script that runs there. Cut off between the two, the bundle stays, and the bootstrap replaces it.

chmod 0644 "$WORK/image.json"
sync "$WORK/image.json"
mv -f "$WORK/image.json" "$MANIFEST"
rm -rf "$WORK"
if [[ $SEAL == true ]]; then
  rm -rf "$ROOT/opt/runner-fleet"
fi
