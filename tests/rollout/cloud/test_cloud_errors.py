"""How a failure is classed, which is what retries go by."""

from __future__ import annotations

import pytest

from rollout.cloud.errors import class_of_operation, class_of_status


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (0, "", "unavailable"),
        (400, "", "permanent"),
        (401, "", "credentials"),
        (403, "", "denied"),
        (403, "quotaExceeded", "quota"),
        (403, "rateLimitExceeded", "rate-limited"),
        (404, "", "not-found"),
        (409, "", "conflict"),
        (412, "conditionNotMet", "conflict"),
        (429, "", "rate-limited"),
        (503, "backendError", "unavailable"),
        (599, "", "unavailable"),
    ],
)
def test_a_status_has_a_class(status, reason, expected):
    assert class_of_status(status, reason) == expected


@pytest.mark.parametrize(
    ("codes", "status", "expected"),
    [
        (["ZONE_RESOURCE_POOL_EXHAUSTED"], 503, "stockout"),
        (["ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"], 503, "stockout"),
        (["QUOTA_EXCEEDED"], 403, "quota"),
        (["RESOURCE_OPERATION_RATE_EXCEEDED"], 403, "rate-limited"),
        (["INTERNAL_ERROR"], 0, "unavailable"),
        (["SOMETHING_NEW"], 503, "unavailable"),
        (["SOMETHING_NEW"], 0, "permanent"),
        (["INVALID_USAGE"], 400, "permanent"),
        (["SOMETHING_NEW", "QUOTA_EXCEEDED"], 400, "quota"),
    ],
)
def test_an_operations_end_has_a_class(codes, status, expected):
    assert class_of_operation(codes, status) == expected
