# shellcheck shell=bash
# The machine does nothing on its own: no package run and no update while a job runs, and none that holds apt's lock.
# Caller: provision.
# Inputs: none.
# Safe: settings stay in the image on purpose, so that what jobs install is lean, too. dpkg is never forced.

UPDATERS=(
  apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service
  unattended-upgrades.service update-notifier-download.timer motd-news.timer fwupd-refresh.timer
)

put /etc/apt/apt.conf.d/90-runner-fleet <<'END'
// Written by the runner image. Recommended packages are a desktop's idea; a lost mirror is tried again.
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Periodic::Enable "0";
Acquire::Retries "5";
Acquire::Languages "none";
DPkg::Lock::Timeout "120";
END
put /etc/dpkg/dpkg.cfg.d/90-runner-fleet <<'END'
# Written by the runner image. Licences stay.
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/groff/*
path-exclude=/usr/share/info/*
END
within systemctl stop "${UPDATERS[@]}" || true # a lean image does not have them all
within systemctl mask "${UPDATERS[@]}"
# What an earlier run left half installed.
again "$APT_TRIES" dpkg --force-confdef --force-confold --configure -a
