"""Compute Engine's calls for groups and templates, as far as a fleet asks for them.

After the discovery document https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest, as the descriptions in
google-cloud-compute 1.57.0 repeat it: an operation of a group is DONE once it is *accepted* by the group; how its VMs
fare is told by listManagedInstances. A VM that is no member, or is being deleted, makes the operation fail, unless
skipInstancesOnValidationError is set; a malformed or foreign reference always does. Which code that failure has, and
that it comes late for the former and at once for the latter, is our guess.

A patch takes versions, the target size and the update policy; a fingerprint in it is checked. Versions say what the
next VMs are made as, which is what OPPORTUNISTIC means; PROACTIVE is not played. Zonal groups do not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.google.caller import PROJECT, REGION, Caller, part
from emulators.google.group import Group, Version
from emulators.google.instance import ROOT, Instance
from emulators.google.operation import Operation, OperationError
from emulators.google.reply import refuse
from emulators.google.template import Template
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

GROUP: Final = REGION + "/instanceGroupManagers/{group}"
GROUPS: Final = REGION + "/instanceGroupManagers"
TEMPLATES: Final = REGION + "/instanceTemplates"
_INSTANCE: Final = re.compile(
    r"(?:https?://[^/]+/compute/v1/)?(?:projects/[^/]+/)?zones/([a-z0-9-]+)/instances/([a-z0-9-]+)"
)


def routes(google: Google) -> Iterable[Route]:
    """All of them need a token."""
    calls = ComputeRest(google)
    table = {
        "region": ("GET", REGION, calls.region),
        "groups": ("GET", GROUPS, calls.groups),
        "aggregated_groups": ("GET", PROJECT + "/aggregated/instanceGroupManagers", calls.aggregated_groups),
        "group": ("GET", GROUP, calls.group),
        "patch_group": ("PATCH", GROUP, calls.once(calls.patch)),
        "managed_instances": ("POST", GROUP + "/listManagedInstances", calls.managed_instances),
        "errors": ("GET", GROUP + "/listErrors", calls.errors),
        "delete_instances": ("POST", GROUP + "/deleteInstances", calls.once(calls.delete_instances)),
        "recreate_instances": ("POST", GROUP + "/recreateInstances", calls.once(calls.recreate_instances)),
        "resize": ("POST", GROUP + "/resize", calls.once(calls.resize)),
        "autoscaler": ("GET", REGION + "/autoscalers/{autoscaler}", calls.autoscaler),
        "templates": ("GET", TEMPLATES, calls.templates),
        "template": ("GET", TEMPLATES + "/{template}", calls.template),
    }
    for name, (method, path, handler) in table.items():
        yield Route(name=f"compute.{name}", method=method, path=path, handler=handler)


class ComputeRest(Caller):
    """The handlers."""

    def region(self, call: Call) -> Reply:
        """regions.get: its quotas"""
        region = call.parameters["region"]
        value: dict[str, Any] = {"kind": "compute#region", "name": region, "status": "UP"}
        if not self._compute.quotas_shown:
            warning = {"code": "UNREACHABLE", "message": "Quotas could not be fetched."}
            return json_reply(200, {**value, "quotas": [], "quotaStatusWarning": warning})
        quotas = [
            {"metric": metric, "limit": limit, "usage": usage}
            for (where, metric), (limit, usage) in self._compute.quotas.items()
            if where == region
        ]
        return json_reply(200, {**value, "quotas": quotas})

    def groups(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.list, by pages of maxResults"""
        where = call.parameters["project"], call.parameters["region"]
        found = [group for group in self._compute.groups.values() if (group.project, group.region) == where]
        shown, more = self.page(call, found)
        documents = [group.document(autofill=self._compute.autofill) for group in shown]
        return json_reply(200, {"kind": "compute#regionInstanceGroupManagerList", "items": documents, **more})

    def aggregated_groups(self, call: Call) -> Reply:
        """instanceGroupManagers.aggregatedList, by pages of maxResults; a scope without groups on a page says so"""
        project = call.parameters["project"]
        found = [group for group in self._compute.groups.values() if group.project == project]
        shown, more = self.page(call, found)
        scopes = {f"regions/{group.region}" for group in found} | {
            f"zones/{zone}" for group in found for zone in group.zones
        }
        items: dict[str, Any] = {}
        for scope in sorted(scopes):
            here = [group for group in shown if f"regions/{group.region}" == scope]
            documents = [group.document(autofill=self._compute.autofill) for group in here]
            text = f"There are no results for scope '{scope}' on this page."
            warning = {"code": "NO_RESULTS_ON_PAGE", "message": text, "data": [{"key": "scope", "value": scope}]}
            items[scope] = {"instanceGroupManagers": documents} if here else {"warning": warning}
        return json_reply(200, {"kind": "compute#instanceGroupManagerAggregatedList", "items": items, **more})

    def templates(self, call: Call) -> Reply:
        """regionInstanceTemplates.list, by pages of maxResults"""
        shown, more = self.page(call, self._templates(call))
        documents = [template.document() for template in shown]
        return json_reply(200, {"kind": "compute#instanceTemplateList", "items": documents, **more})

    def template(self, call: Call) -> Reply:
        """regionInstanceTemplates.get"""
        for template in self._templates(call):
            if template.name == call.parameters["template"]:
                return json_reply(200, template.document())
        raise self.missing(call)

    def group(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.get"""
        return json_reply(200, self._group(call).document(autofill=self._compute.autofill))

    def autoscaler(self, call: Call) -> Reply:
        """regionAutoscalers.get"""
        where = call.parameters["project"], call.parameters["region"]
        for group in self._compute.groups.values():
            scaler = group.autoscaler
            if scaler and scaler.name == call.parameters["autoscaler"] and (group.project, group.region) == where:
                return json_reply(200, group.autoscaler_document(scaler))
        raise self.missing(call)

    def managed_instances(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.listManagedInstances, by pages of maxResults"""
        group = self._group(call)
        shown, more = self.page(call, group.instances)
        documents = [group.managed_document(vm) for vm in shown]
        return json_reply(200, {"managedInstances": documents, **more} if shown else {})

    def errors(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.listErrors, by pages of maxResults"""
        shown, more = self.page(call, list(self._group(call).errors))
        return json_reply(200, {"items": shown, **more} if shown else {})

    def delete_instances(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.deleteInstances"""
        group = self._group(call)
        vms, error = self._members(call, group)
        operation = self._accept(call, "delete_instances", "delete", group, error)
        if operation.error is None:
            self._compute.delete(group, vms)
        return json_reply(200, operation.document())

    def recreate_instances(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.recreateInstances"""
        group = self._group(call)
        vms, error = self._members(call, group)
        operation = self._accept(call, "recreate_instances", "recreate", group, error)
        if operation.error is None:
            self._compute.recreate(group, vms)
        return json_reply(200, operation.document())

    def resize(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.resize"""
        group = self._group(call)
        size = call.query.get("size", "")
        if not size.isdecimal():
            raise refuse("compute", 400, f"Invalid value for field 'size': '{size}'.")
        if group.quota is not None and int(size) > max(group.quota, group.target_size):
            text = f"Quota 'INSTANCES' exceeded. Limit: {group.quota}.0 in region {group.region}."
            raise refuse("compute", 403, text, reason="quotaExceeded")
        operation = self._accept(call, "resize", "resize", group, None)
        if operation.error is None:
            self._compute.resize(group, int(size))
        return json_reply(200, operation.document())

    def patch(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.patch"""
        group, body = self._group(call), self.fields(call)
        if body.get("fingerprint", group.fingerprint) != group.fingerprint:
            raise refuse("compute", 412, "Invalid fingerprint.")
        if part(body, "updatePolicy").get("type", group.update_type) != "OPPORTUNISTIC":
            raise refuse("compute", 400, "This stand-in plays no updates but opportunistic ones.")
        versions = self._versions(body["versions"]) if "versions" in body else group.versions
        operation = self._accept(call, "patch_group", "patch", group, None)
        if operation.error is None:
            group.versions = versions
            group.target_size = int(body.get("targetSize", group.target_size))
            group.revision += 1
            self._compute.tick()
        return json_reply(200, operation.document())

    def _group(self, call: Call) -> Group:
        group = self._compute.groups.get(call.parameters["group"])
        if group is None or (group.project, group.region) != (call.parameters["project"], call.parameters["region"]):
            raise self.missing(call)
        return group

    def _accept(self, call: Call, route: str, kind: str, group: Group, error: OperationError | None) -> Operation:
        kind, scope = f"compute.instanceGroupManagers.{kind}", f"regions/{group.region}"
        return self.operate(call, route, kind, scope, target=group.path, target_id=group.id, error=error)

    def _templates(self, call: Call) -> list[Template]:
        where = call.parameters["project"], call.parameters["region"]
        return [each for each in self._compute.templates.values() if (each.project, each.region) == where]

    def _versions(self, given: list[dict[str, Any]]) -> list[Version]:
        """The versions of a patch, of which one has no size of its own, with templates that exist."""
        made: list[Version] = []
        for number, each in enumerate(given):
            size = part(each, "targetSize")
            link = str(each.get("instanceTemplate", ""))
            path = link[link.find("projects/") :] if "projects/" in link else link
            version = Version(name=str(each.get("name", "")), template=f"{ROOT}/{path}", fixed=size.get("fixed"),
                              percent=size.get("percent"))  # fmt: skip
            known = {template.link for template in self._compute.templates.values()}
            if known and version.template not in known:
                field = f"resource.versions[{number}].instanceTemplate"
                raise refuse("compute", 400, f"Invalid value for field '{field}': '{link}'. It does not exist.")
            made.append(version)
        if sum(version.fixed is None and version.percent is None for version in made) != 1:
            raise refuse("compute", 400, "Exactly one version must not have a target size.")
        return made

    def _members(self, call: Call, group: Group) -> tuple[list[Instance], OperationError | None]:
        body: Any = call.json()
        links: Any = body.get("instances") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(links, list) or not links:
            raise refuse("compute", 400, "Required field 'instances' not specified", reason="required")
        skip = body.get("skipInstancesOnValidationError") is True  # pyright: ignore[reportUnknownMemberType]
        found: list[Instance] = []
        for number, link in enumerate(links):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            match = _INSTANCE.fullmatch(str(link))  # pyright: ignore[reportUnknownArgumentType]
            if not match or match[1] not in group.zones:
                text = f"Invalid value for field 'instances[{number}]': '{link}'. The URL is malformed."
                raise refuse("compute", 400, text)
            vm = next((vm for vm in group.instances if (vm.zone, vm.name) == (match[1], match[2])), None)
            if vm is not None and vm.action not in {"DELETING", "ABANDONING"}:
                found.append(vm)
            elif not skip:
                text = f"Instance '{match[2]}' is not a member of '{group.path}', or is being deleted."
                return [], OperationError(
                    code="INVALID_USAGE", message=text, http_status=400, http_message="BAD REQUEST"
                )
        return found, None
