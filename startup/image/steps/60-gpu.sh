# shellcheck shell=bash
# NVIDIA's driver and container toolkit, where there is a GPU, and the proof that they work.
# Caller: provision.
# Inputs: GPU; GPU_CHECK_IMAGE.
# Safe: modules are Ubuntu's own, built for the very kernel that runs: no compiler, and no module for another kernel.

if [[ $GPU == true ]]; then
  install_group gpu
  within modprobe nvidia || give_up "the module nvidia does not load into kernel $KERNEL"
  devices="$(timeout 60 nvidia-smi -L)" || give_up 'nvidia-smi sees no GPU'
  [[ $devices == GPU\ * ]] || give_up 'nvidia-smi lists no GPU'
  within nvidia-ctk runtime configure --runtime=docker || give_up 'Docker could not be told of the NVIDIA runtime'
  within systemctl restart docker.service
  if [[ -n $GPU_CHECK_IMAGE ]]; then
    within docker run --rm --gpus all "$GPU_CHECK_IMAGE" nvidia-smi -L || give_up 'a container sees no GPU'
  fi
fi
