# shellcheck shell=bash
# Google's Ops Agent: the fleet's log lines to Cloud Logging, the machine's figures to Cloud Monitoring.
# Caller: provision.
# Inputs: ops-agent.yaml.
# Safe: the configuration is there before the agent first starts; the default one sends all of syslog.

put /etc/google-cloud-ops-agent/config.yaml <"$IMAGE/ops-agent.yaml"
install_group ops-agent
within systemctl enable google-cloud-ops-agent.service
within systemctl restart google-cloud-ops-agent.service
