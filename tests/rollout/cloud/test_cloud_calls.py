"""Calls as requests: nothing is sent for arguments that make no sense."""

from __future__ import annotations

import pytest

from rollout.cloud import calls


def test_a_call_becomes_a_request():
    request = calls.request(
        "delete_instances",
        {"region": "us-west1", "group": "g", "instances": ["https://x/projects/p/zones/us-west1-a/instances/vm"]},
    )
    assert (request.method, request.path) == ("POST", "/regions/us-west1/instanceGroupManagers/g/deleteInstances")
    assert request.body == {"instances": ["zones/us-west1-a/instances/vm"]}
    assert request.asked == "deleting members of g in us-west1"


def test_a_size_goes_into_the_query():
    request = calls.request("resize", {"region": "us-west1", "group": "g", "size": 0})
    assert (request.query, request.body) == ({"size": "0"}, None)


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        ("shrink", {}, "call 'shrink': there is none; there are delete_instances, "),
        ("resize", {"region": "us-west1"}, "`group` is missing; `size` is missing; it takes region, group, size"),
        ("resize", {"region": "r", "group": "g", "size": -1}, "`size` is -1, not a number from 0"),
        ("resize", {"region": "r", "group": "g", "size": True}, "`size` is True"),
        ("resize", {"region": "r", "group": "g/../x", "size": 1}, "`group` is 'g/../x', which is no name"),
        ("delete_disk", {"zone": "z", "disk": "d", "why": ""}, "`why` is not known"),
        ("delete_instances", {"region": "r", "group": "g", "instances": []}, "`instances` is not a list"),
        ("delete_instances", {"region": "r", "group": "g", "instances": ["vm"]}, "`instances` is not a list"),
        ("insert_instance", {"zone": "z", "body": []}, "`body` is not an object"),
    ],
)
def test_arguments_that_make_no_sense_are_said_before_anything_is_sent(call, arguments, said):
    with pytest.raises(calls.ArgumentsError) as caught:
        calls.request(call, arguments)
    assert said in str(caught.value)
