"""GitHub's REST calls for workflow runs, their jobs, and releases.

After https://docs.github.com/en/rest/actions/workflows, .../workflow-runs, .../workflow-jobs and .../releases
(November 2026). A dispatch tells its run from API version 2026-03-10 on, before if `return_run_details` asks for it
(https://github.blog/changelog/2026-02-19-workflow-dispatch-api-now-returns-run-ids); an older server refuses that
field. Each job that waits for a scale set is a run of its own. Our guesses: an input that is not declared gets 422, a
version that GitHub does not know 400.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.github.page import page
from emulators.github.reply import refuse
from emulators.github.scale_sets import QueuedJob
from emulators.github.scale_sets.job import REST_BASE
from emulators.github.workflow import Workflow, WorkflowRun, second
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.github.hub import GitHub

REPOSITORY: Final = "/repos/{owner}/{repository}"
RUNS: Final = REPOSITORY + "/actions/runs"
VERSIONS: Final = ("2022-11-28", "2026-03-10")
STATUSES: Final = {"assigned": "queued", "running": "in_progress", "failed": "completed"}
CONCLUSIONS: Final = {"succeeded": "success", "failed": "failure", "canceled": "cancelled"}


def routes(hub: GitHub) -> Iterable[Route]:
    """At the root, as on api.github.com, and below api/v3, as on a server of one's own."""
    calls = WorkflowRest(hub)
    table = {
        "dispatch": ("POST", REPOSITORY + "/actions/workflows/{workflow}/dispatches", calls.dispatch),
        "runs": ("GET", RUNS, calls.runs),
        "run": ("GET", RUNS + "/{run}", calls.run),
        "cancel_run": ("POST", RUNS + "/{run}/cancel", calls.cancel),
        "run_jobs": ("GET", RUNS + "/{run}/jobs", calls.jobs),
        "job": ("GET", REPOSITORY + "/actions/jobs/{job}", calls.job),
        "releases": ("GET", REPOSITORY + "/releases", calls.releases),
    }
    for name, (method, path, handler) in table.items():
        for prefix in ("", "/api/v3"):
            yield Route(name=f"github.{name}", method=method, path=prefix + path, handler=handler)


class WorkflowRest:
    """The handlers."""

    def __init__(self, hub: GitHub) -> None:
        self._hub = hub

    def dispatch(self, call: Call) -> Reply:
        """Start a workflow."""
        self._check(call)
        version = self._version(call)
        workflow = self._workflow(call)
        body: Any = call.json()
        if not isinstance(body, dict):
            raise refuse(400, "Problems parsing JSON")
        fields: dict[str, Any] = body  # pyright: ignore[reportUnknownVariableType]
        if "return_run_details" in fields and not self._hub.knows_run_details:
            raise refuse(400, 'Invalid request. "return_run_details" is not a permitted key.')
        if not fields.get("ref"):
            raise refuse(422, 'Invalid request. "ref" wasn\'t supplied.')
        given: dict[str, Any] = fields.get("inputs") or {}
        inputs = {name: str(value) for name, value in given.items()}
        if unknown := sorted(set(inputs) - set(workflow.inputs)):
            raise refuse(422, f"Unexpected inputs provided: {unknown}")
        if not workflow.enabled:
            raise refuse(422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
        run = WorkflowRun(
            id=self._hub.next_run_id(),
            workflow=workflow,
            ref=str(fields["ref"]),
            inputs=inputs,
            created=self._hub.clock.now(),
        )
        self._hub.workflow_runs[run.id] = run
        if version < VERSIONS[1] and not fields.get("return_run_details"):
            return Reply(status=204)
        url = f"{self._hub.url}/repos/{self._hub.organization}/{workflow.repository}/actions/runs/{run.id}"
        page_url = f"https://github.com/{self._hub.organization}/{workflow.repository}/actions/runs/{run.id}"
        return json_reply(200, {"workflow_run_id": run.id, "run_url": url, "html_url": page_url})

    def runs(self, call: Call) -> Reply:
        """A repository's runs, the newest first."""
        self._check(call)
        found = [self._run_document(each) for each in self._runs(call.parameters["repository"])]
        for name, key in (
            ("status", "status"),
            ("event", "event"),
            ("branch", "head_branch"),
            ("head_sha", "head_sha"),
        ):
            if wanted := call.query.get(name):
                found = [run for run in found if wanted in {run[key], run["conclusion"] if name == "status" else None}]
        if since := call.query.get("created", "").removeprefix(">="):
            found = [run for run in found if run["created_at"] >= since]
        found.sort(key=lambda run: (run["created_at"], run["id"]), reverse=True)
        return page(self._hub, call, "workflow_runs", found)

    def run(self, call: Call) -> Reply:
        """One run."""
        self._check(call)
        return json_reply(200, self._run_document(self._known(call)))

    def cancel(self, call: Call) -> Reply:
        """Ask for a run's end."""
        self._check(call)
        run = self._known(call)
        if self._run_document(run)["status"] == "completed":
            raise refuse(409, "Cannot cancel a workflow run that is completed.")
        if isinstance(run, WorkflowRun):
            run.cancelled = self._hub.clock.now() if run.cancelled is None else run.cancelled
        else:
            self._hub.cancel_job(run.id)
        return json_reply(202, {})

    def jobs(self, call: Call) -> Reply:
        """The jobs of a run."""
        self._check(call)
        return page(self._hub, call, "jobs", [self._job_document(self._known(call))])

    def job(self, call: Call) -> Reply:
        """One job."""
        self._check(call)
        for run in self._runs(call.parameters["repository"]):
            document = self._job_document(run)
            if str(document["id"]) == call.parameters["job"]:
                return json_reply(200, document)
        raise refuse(404, "Not Found")

    def releases(self, call: Call) -> Reply:
        """A public repository's releases, the newest first; drafts are for those who may write."""
        repository = f"{call.parameters['owner']}/{call.parameters['repository']}"
        if repository not in self._hub.releases:
            raise refuse(404, "Not Found")
        return page(self._hub, call, "", self._hub.releases[repository])

    def _check(self, call: Call) -> None:
        self._hub.app.check_token(call, self._hub.clock.now(), "actions")
        if call.parameters["owner"].lower() != self._hub.organization.lower():
            raise refuse(404, "Not Found")

    @staticmethod
    def _version(call: Call) -> str:
        version = call.headers.get("X-GitHub-Api-Version") or VERSIONS[0]
        if version not in VERSIONS:
            raise refuse(400, f"{version} is not a supported version. Supported versions: {', '.join(VERSIONS)}")
        return version

    def _workflow(self, call: Call) -> Workflow:
        wanted, repository = call.parameters["workflow"], call.parameters["repository"]
        for workflow in self._hub.workflows:
            if workflow.repository == repository and wanted in {workflow.file, str(workflow.id)}:
                return workflow
        raise refuse(404, "Not Found")

    def _runs(self, repository: str) -> list[WorkflowRun | QueuedJob]:
        started = [run for run in self._hub.workflow_runs.values() if run.workflow.repository == repository]
        return [*started, *(job for job in self._hub.jobs.values() if job.repository == repository)]

    def _known(self, call: Call) -> WorkflowRun | QueuedJob:
        for run in self._runs(call.parameters["repository"]):
            if str(run.id if isinstance(run, WorkflowRun) else run.number) == call.parameters["run"]:
                return run
        raise refuse(404, "Not Found")

    def _run_document(self, run: WorkflowRun | QueuedJob) -> dict[str, Any]:
        now = self._hub.clock.now()
        if isinstance(run, WorkflowRun):
            return run.document(now, self._hub.organization)
        return {
            "id": run.number,
            "name": "ci",
            "display_title": run.name,
            "path": ".github/workflows/ci.yml",
            "workflow_id": 1,
            "event": run.event,
            "status": STATUSES.get(run.state, run.state),
            "conclusion": CONCLUSIONS.get(run.result) if run.over else None,
            "head_branch": run.branch,
            "head_sha": f"{run.number:040x}",
            "run_attempt": 1,
            "created_at": second(run.queued_at),
            "updated_at": second(now if run.finished_at is None else run.finished_at),
            "html_url": f"https://github.com/{run.owner}/{run.repository}/actions/runs/{run.number}",
        }

    def _job_document(self, run: WorkflowRun | QueuedJob) -> dict[str, Any]:
        """The one job of a run."""
        whole = self._run_document(run)
        queued = run if isinstance(run, QueuedJob) else None
        runner = self._runner(queued)
        started = run.started if isinstance(run, WorkflowRun) else run.started_at
        ended = run.ended if isinstance(run, WorkflowRun) else run.finished_at
        return {
            "id": REST_BASE + whole["id"],
            "run_id": whole["id"],
            "name": queued.name if queued else "dispatched",
            "workflow_name": whole["name"],
            "status": whole["status"],
            "conclusion": whole["conclusion"],
            "labels": list(queued.labels) if queued else ["ubuntu-latest"],
            **runner,
            "head_branch": whole["head_branch"],
            "head_sha": whole["head_sha"],
            "created_at": whole["created_at"],
            "started_at": second(started)
            if started is not None and whole["status"] != "queued"
            else whole["created_at"],
            "completed_at": second(ended) if ended is not None and whole["status"] == "completed" else None,
            "html_url": f"{whole['html_url']}/job/{REST_BASE + whole['id']}",
        }

    def _runner(self, job: QueuedJob | None) -> dict[str, Any]:
        """The runner that has or had a job; GitHub leaves its fields null, or 0 and empty, until then."""
        if job is None or not job.runner_id:
            return {"runner_id": None, "runner_name": None, "runner_group_id": None, "runner_group_name": None}
        known = self._hub.runners.get(job.runner_name)
        group = next((each for each in self._hub.groups.values() if known and each.id == known.group_id), None)
        return {
            "runner_id": job.runner_id,
            "runner_name": job.runner_name,
            "runner_group_id": group.id if group else None,
            "runner_group_name": group.name if group else None,
        }
