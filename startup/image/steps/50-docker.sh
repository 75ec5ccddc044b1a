# shellcheck shell=bash
# Docker's engine, and a bounded wait until it answers.
# Caller: provision.
# Inputs: the repository of 30-sources.
# Safe: nobody joins the group docker here, since that is root; bin/contain decides by the machine class.

install_group docker
within systemctl enable --now containerd.service docker.service
for ((try = 1; ; try++)); do
  ! within docker info || break
  ((try < DOCKER_TRIES)) || give_up "Docker did not answer in $DOCKER_TRIES tries"
  sleep 1
done
