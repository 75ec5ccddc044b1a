"""Who may write an operator's marks: people alone. Everything that the fleet runs only reads them."""

from __future__ import annotations

import pytest

from fleet import metadata, services, trust
from fleet.metadata import RunnerMetadata

WRITES = ("compute.instances.setMetadata", "compute.projects.setCommonInstanceMetadata", "compute.instances.update")
SERVICES = [value for value in vars(services).values() if isinstance(value, services.Service)]


def test_no_identity_of_the_fleet_may_write_what_an_operator_writes():
    assert len(SERVICES) == 4
    assert not {permission for service in SERVICES for permission in service.permissions} & set(WRITES)
    assert not [role for role in trust.RUNNER_PROJECT_ROLES if "compute" in role]


@pytest.mark.parametrize("mark", metadata.MARKS)
def test_no_template_sets_a_mark(mark):
    assert mark.startswith(metadata.PREFIX)
    assert mark not in {metadata.attribute_name(field) for field in RunnerMetadata.model_fields}
