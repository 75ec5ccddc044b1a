"""What a config URL names, and where its REST API is."""

from __future__ import annotations

import pytest
from scaleset.config_url import ConfigUrl, Scope


@pytest.mark.parametrize(
    ("url", "scope", "root", "prefix"),
    [
        ("https://github.com/my-org", Scope.ORGANIZATION, "https://api.github.com", "/orgs/my-org"),
        ("https://GitHub.com/my-org/", Scope.ORGANIZATION, "https://api.github.com", "/orgs/my-org"),
        ("https://www.github.com/me/widgets", Scope.REPOSITORY, "https://api.github.com", "/repos/me/widgets"),
        ("https://github.com/Enterprises/big", Scope.ENTERPRISE, "https://api.github.com", "/enterprises/big"),
        ("https://octo.ghe.com/my-org", Scope.ORGANIZATION, "https://api.octo.ghe.com", "/orgs/my-org"),
        ("http://github.localhost/o", Scope.ORGANIZATION, "http://api.github.localhost", "/orgs/o"),
        ("https://github.com:444/o", Scope.ORGANIZATION, "https://github.com:444/api/v3", "/orgs/o"),
        ("https://git.example.org/o/r", Scope.REPOSITORY, "https://git.example.org/api/v3", "/repos/o/r"),
        ("http://127.0.0.1:8080/my-org", Scope.ORGANIZATION, "http://127.0.0.1:8080/api/v3", "/orgs/my-org"),
    ],
)
def test_each_form_leads_to_its_api(url, scope, root, prefix):
    parsed = ConfigUrl.parse(url)
    assert (parsed.scope, parsed.rest_root, parsed.path_prefix) == (scope, root, prefix)


def test_slashes_at_its_ends_are_not_told_to_github():
    assert ConfigUrl.parse("/https://github.com/my-org//").url == "https://github.com/my-org"


def test_any_host_can_be_called_an_enterprise_server():
    parsed = ConfigUrl.parse("https://github.com/o", enterprise_server=True)
    assert parsed.rest_root == "https://github.com/api/v3"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "github.com/my-org",
        "ftp://github.com/o",
        "https://github.com",
        "https://github.com/a/b/c",
        "https://github.com/a//b",
        "https://github.com/..",
        "https://github.com/o?x=1",
        "https://github.com/o#x",
        "https://github.com/a b",
        "https://github.com:port/o",
        "https://[::1/o",
    ],
)
def test_what_names_nothing_is_refused_with_what_is_allowed(url):
    with pytest.raises(ValueError, match=r"https://github\.com/OWNER/REPO") as caught:
        ConfigUrl.parse(url)
    assert repr(url) in str(caught.value)


def test_a_secret_in_it_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="config_url") as caught:
        ConfigUrl.parse("https://user:hunter2@github.com/o")
    assert "hunter2" not in str(caught.value)
