# shellcheck shell=bash
# containment_probe: whether the job user's requests to the metadata server meet the filter, tried as that user.
# Caller: sourced by bin/preflight after common.sh, on a VM that bin/contain has been over; needs root.
# Inputs: the metadata server's real name. The filter may still be starting, so it is tried again, quickly.
# Exits: 0 contained; 1 with the reason on stdout. At most PROBE_SECONDS, and two requests of 6 s for the last try.
# Safe: no token that comes back gets into a variable, a file or a log.

readonly PROBE_SECONDS=20 PROBE_TRIES=100 PROBE_PAUSE_SECONDS=0.1
readonly PROBE_REFUSAL='A job may not read this from the metadata server'

# as_job PATH: "refused" where the filter's refusal came, then the HTTP status. Nothing else of a body gets here.
as_job() {
  # The job user's own process connects, as a job's would: rights are dropped before curl starts.
  timeout 6 setpriv --reuid="$JOB_USER" --regid="$JOB_USER" --init-groups --no-new-privs \
    curl -q -sS --noproxy '*' --connect-timeout 2 --max-time 5 -H 'Metadata-Flavor: Google' -w '\n%{http_code}' \
    "$METADATA_URL/instance/service-accounts/default/$1" 2>/dev/null |
    sed -n -e "s/^$PROBE_REFUSAL.*/refused/p" -e '$p'
}

containment_probe() {
  local try identity token
  SECONDS=0
  for ((try = 0; try < PROBE_TRIES && SECONDS < PROBE_SECONDS; try++)); do
    ((try == 0)) || sleep "$PROBE_PAUSE_SECONDS"
    identity="$(as_job 'identity?audience=containment-probe&format=full')" || identity=000
    token="$(as_job token)" || token=000
    if [[ $identity == 200 ]]; then
      echo "user $JOB_USER gets identity tokens of this VM; are the rules of lib/containment.nft loaded?"
      return 1
    fi
    [[ $identity != $'refused\n403' || $token != 200 ]] || return 0
  done
  echo "as user $JOB_USER identity got HTTP ${identity//$'\n'/ } and token HTTP $token, and should get 403 from the" \
    "filter and 200; does runner-metadata-filter.service run?"
  return 1
}
