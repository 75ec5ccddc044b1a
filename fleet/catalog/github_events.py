"""GitHub's workflow events, as GITHUB_EVENT_NAME spells them.

Source: GitHub's documentation, "Events that trigger workflows" (github/docs at 037ad6b7), read 2026-11-22. Which of
them a stranger can cause is our reading of what each event is; GitHub states it for pull requests only.
"""

from __future__ import annotations

from typing import Final

EVENTS: Final = frozenset(
    """
    branch_protection_rule check_run check_suite create delete deployment deployment_status discussion
    discussion_comment fork gollum image_version issue_comment issues label merge_group milestone page_build public
    pull_request pull_request_review pull_request_review_comment pull_request_target push registry_package release
    repository_dispatch schedule status watch workflow_call workflow_dispatch workflow_run
    """.split()
)

OPEN_TO_STRANGERS: Final = frozenset(
    """
    check_run check_suite discussion discussion_comment fork gollum issue_comment issues label merge_group milestone
    pull_request pull_request_review pull_request_review_comment pull_request_target status watch workflow_call
    workflow_run
    """.split()
)
"""Events that somebody without write access can cause, or that carry code not merged yet (`merge_group`), or that run
on behalf of another run whose own trigger is not known here (`workflow_run`, `check_*`, `status`, `workflow_call`).
No level above minimal may allow one. When in doubt an event stands here: the original refused them by omission."""
