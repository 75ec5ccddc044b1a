# shellcheck shell=bash
# Which machine this is, the pinned versions for apt, and the packages of Ubuntu's own archive.
# Caller: provision.
# Inputs: WORK/pins.json where --pins was given.
# Safe: refuses another release of Ubuntu. No upgrade of everything: a newer base image brings that (docs/images.md).

PREFERENCES=/etc/apt/preferences.d/runner-fleet-pins

ARCHITECTURE="$(dpkg --print-architecture)"
KERNEL="$(uname -r)"
[[ $ARCHITECTURE == @(amd64|arm64) ]] || give_up "architecture $ARCHITECTURE: only amd64 and arm64 have images"
[[ $'\n'"$(<"$ROOT/etc/os-release")"$'\n' == *$'\nVERSION_CODENAME=noble\n'* ]] || give_up 'this is not Ubuntu 24.04'

PINNED=(--table "$IMAGE/pins.json" --architecture "$ARCHITECTURE" --kernel "$KERNEL")
[[ -z $PINS ]] || PINNED+=(--pins "$WORK/pins.json")
python manifest.py prepare "${PINNED[@]}" --gpu "$GPU" --into "$WORK" || fail 65 "$STEP: the pins cannot be used"
put "$PREFERENCES" <"$WORK/preferences"

rm -f "$ROOT"/etc/apt/sources.list.d/runner-fleet-* "$ROOT"/etc/apt/keyrings/runner-fleet-*
apt_update
plan base
install_group base
