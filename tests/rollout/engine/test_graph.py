from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from sequential_model import plans, resolved, scripted

from rollout.engine.graph import Graph, GraphError
from rollout.engine.limits import Limits
from rollout.engine.spec import (
    Approval,
    AtLeast,
    Bake,
    Compensation,
    FailureBudget,
    Plan,
    Ref,
    Retry,
    Rule,
    Step,
)


class Image(BaseModel):
    name: str


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


def more(output):
    """An expansion that is never called here."""
    return [output]


def step(step_id, *needs, **fields):
    return Step(id=step_id, backend=fields.pop("backend", "fake"), needs=needs, **fields)


def graph(*steps, **fields):
    return Graph(Plan(name="a plan", steps=steps), **fields)


def faults(*steps, **fields):
    with pytest.raises(GraphError) as caught:
        graph(*steps, **fields)
    return list(caught.value.faults)


ONE_FAULT_EACH = {
    "a bad id": (step("a b"), "step a b: a bad id; allowed are letters, digits and -_./:@"),
    "an id with nothing before a slash": (step("/a"), "step /a: a bad id"),
    "an id that leaves its folder": (step("a/../b"), "step a/../b: a bad id; a part of nothing but dots"),
    "an unknown need": (step("a", "nobody-like-this"), "step a: needs: there is no step 'nobody-like-this'"),
    "a misspelt need": (step("a", "buidl"), "step a: needs: there is no step 'buidl'; is build meant?"),
    "a need of itself": (step("a", "a"), "step a: needs: a is the step itself"),
    "needs that are a text": (
        Step(id="a", backend="fake", needs="build"),  # pyright: ignore[reportArgumentType] - the fault
        "step a: needs: 'build' is a text; give a tuple of ids",
    ),
    "all that a step adds which adds none": (step("a", "build/*"), "step a: needs: build/*, and build adds no steps"),
    "an unknown backend": (step("a", backend="gogle"), "step a: backend: there is no 'gogle'; there are fake, local"),
    "a compensation's unknown backend": (
        step("a", compensation=Compensation(backend="gogle")),
        "step a: compensation.backend: there is no 'gogle'; there are fake, local",
    ),
    "a reference to what is not needed": (
        step("a", params={"image": [Ref("build", "name")]}),
        "step a: params.image[0]: refers to 'build', which is not among its needs (none)",
    ),
    "a reference to a field that is not there": (
        step("a", "build", params={"deep": {"image": Ref("build", "digest")}}),
        "step a: params.deep.image: refers to build.digest; Image has name",
    ),
    "a reference to a step without output": (
        step("a", "silent", params={"image": Ref("silent", "name")}),
        "step a: params.image: refers to silent.name, and silent says no output",
    ),
    "a compensation's reference to a stranger": (
        step("a", compensation=Compensation(backend="fake", params={"image": Ref("build", "name")})),
        "step a: compensation.params.image: refers to 'build', which is neither it nor among its needs (none)",
    ),
    "params that are no JSON": (step("a", params={"at": [object()]}), "step a: params.at[0]: a object has no place"),
    "params with a key that is no text": (step("a", params={"at": {1: 2}}), "step a: params.at: the key 1 is no text"),
    "a number beyond JSON": (step("a", params={"at": float("nan")}), "step a: params.at: nan has no place in JSON"),
    "a default that is no JSON": (
        step("a", "build", params={"image": Ref("build", "name", default=object())}),
        "step a: params.image (its default): a object has no place",
    ),
    "any of nothing": (step("a", rule=Rule.ANY), "step a: rule any: it needs nothing"),
    "a share of nothing": (step("a", rule=AtLeast(share=0.5)), "step a: rule at least: it needs nothing"),
    "a share above all": (
        step("a", "build", rule=AtLeast(share=1.1)),
        "step a: rule at least: share 1.1 is not above 0",
    ),
    "a share of nought": (step("a", "build", rule=AtLeast(share=0)), "step a: rule at least: share 0 is not above 0"),
    "a share and a number": (
        step("a", "build", rule=AtLeast(share=0.5, steps=1)),
        "step a: rule at least: steps 1, share 0.5; exactly one is given",
    ),
    "neither share nor number": (step("a", "build", rule=AtLeast()), "step a: rule at least: steps None, share None"),
    "more than it needs": (
        step("a", "build", rule=AtLeast(steps=2)),
        "step a: rule at least: 2 steps have to pass, and it needs 1",
    ),
    "at least nought": (
        step("a", "build", rule=AtLeast(steps=0)),
        "step a: rule at least: steps 0 is not a whole number",
    ),
    "a budget for nobody": (
        step("a", gate=FailureBudget(most=1, of=("groups/*",))),
        "step a: gate failure budget: 'groups/*' is no step, nor could one be added of that name",
    ),
    "a budget without steps": (
        step("a", gate=FailureBudget(most=1, of=())),
        "step a: gate failure budget: of is empty",
    ),
    "a budget below nought": (
        step("a", gate=FailureBudget(most=-1, of=("build",))),
        "step a: gate failure budget: most -1 is not a whole number, 0 or more",
    ),
    "a budget's pattern of another kind": (
        step("a", gate=FailureBudget(most=1, of=("b[u]ild",))),
        "step a: gate failure budget: 'b[u]ild' is no id, nor one with *",
    ),
    "a question of nothing": (step("a", gate=Approval(question="")), "step a: gate approval: the question is empty"),
    "a bake time below nought": (step("a", gate=Bake(seconds=-1)), "step a: gate bake: -1 is not a finite number"),
    "a single try": (
        step("a", retry=Retry(tries={"quota": 1})),
        "step a: retry.tries.quota: 1 is not a whole number of tries in all, 2 or more",
    ),
    "a wait below nought": (
        step("a", retry=Retry(first_seconds=-1)),
        "step a: retry.first_seconds: -1 is not a finite",
    ),
    "a longest wait below the first": (
        step("a", retry=Retry(first_seconds=9, most_seconds=8)),
        "step a: retry.most_seconds: 8 is not a finite number, 9 or more",
    ),
    "a weight below nought": (step("a", weight=-1), "step a: weight: -1 is not a finite number of seconds, 0 or more"),
    "a weight without end": (step("a", weight=float("inf")), "step a: weight: inf is not a finite number of seconds"),
    "a timeout of nought": (
        step("a", timeout_seconds=0),
        "step a: timeout_seconds: 0 is not a finite number of seconds",
    ),
    "a try's timeout that is no number": (
        step("a", try_timeout_seconds=float("nan")),
        "step a: try_timeout_seconds: nan is not a finite number of seconds above 0",
    ),
    "a compensation's timeout": (
        step("a", compensation=Compensation(backend="fake", timeout_seconds=-3)),
        "step a: compensation.timeout_seconds: -3 is not a finite number of seconds above 0",
    ),
    "an unknown resource": (
        step("a", uses={"gpus": 1}),
        "step a: uses.gpus: there is no such resource; there are cpus",
    ),
    "more than there is": (
        step("a", uses={"cpus": 9}),
        "step a: uses.cpus: 9 units, and resources.cpus is 8; it could never run",
    ),
    "half a unit": (step("a", uses={"cpus": 0.5}), "step a: uses.cpus: 0.5 is not a whole number of units, 1 or more"),
    "a lambda": (step("a", expand=lambda _: []), "step a: expand: test_graph.<lambda> cannot be imported"),
    "code without a name": (step("a", expand=itertools.count().__next__), "step a: expand: "),
}


@pytest.mark.parametrize("name", ONE_FAULT_EACH)
def test_a_fault_is_told_with_what_was_seen_and_what_is_allowed(name):
    faulty, expected = ONE_FAULT_EACH[name]
    others = (step("build", output=Image), step("silent"))
    [fault] = faults(*others, faulty, backends=("fake", "local"), limits=Limits(resources={"cpus": 8}))
    assert fault.startswith(expected)


def test_all_faults_come_at_once():
    every = [faulty for faulty, _ in ONE_FAULT_EACH.values() if faulty.id == "a"]
    numbered = [dataclasses.replace(faulty, id=f"a{n}") for n, faulty in enumerate(every)]
    others = (step("build", output=Image), step("silent"))
    found = faults(*others, *numbered, backends=("fake", "local"), limits=Limits(resources={"cpus": 8}))
    assert len(found) == len(numbered)
    assert [fault.partition(":")[0] for fault in found] == [f"step {one.id}" for one in numbered]


def test_the_error_counts_its_faults_and_names_the_plan():
    with pytest.raises(GraphError, match=r"^a plan: 1 fault\n  step a: weight: -1"):
        graph(step("a", weight=-1))


def test_an_id_stands_for_one_step():
    assert faults(step("a"), step("b"), step("a")) == [
        "step a: there is another of this id; ids are unique in a run",
    ]


def test_a_class_inside_a_function_cannot_be_found_again_by_a_resumed_run():
    class Hidden(BaseModel):
        name: str

    [fault] = faults(step("a", output=Hidden))
    assert "Hidden cannot be imported; move it to the top level of a module" in fault


def test_an_output_that_takes_any_field_may_be_referred_to_by_any():
    assert len(graph(step("a", output=Loose), step("b", "a", params={"x": Ref("a", "whatever")}))) == 2


def test_a_compensation_may_refer_to_its_own_step():
    undo = Compensation(backend="fake", params={"image": Ref("a", "name")})
    assert "a" in graph(step("a", output=Image, compensation=undo))


def test_limits_are_judged_too():
    limits = Limits(total=0, backends={"gogle": 1, "fake": -2}, resources={"cpus": True})
    assert faults(step("a"), backends=("fake",), limits=limits) == [
        "limit total: 0 is not a whole number of 1 or more; leave it out for no limit",
        "limit backends.fake: -2 is not a whole number of 1 or more; leave it out for no limit",
        "limit resources.cpus: True is not a whole number of 1 or more; leave it out for no limit",
        "limit backends.gogle: there is no such backend; there are fake",
    ]


def test_a_dynamic_resource_may_be_less_than_a_step_takes_for_it_can_become_more():
    class Quota:
        def units(self):
            return 0

        def subscribe(self, changed):
            return lambda: changed

    assert len(graph(step("a", uses={"cpus": 9}), limits=Limits(resources={"cpus": Quota()}))) == 1


def test_a_plan_of_a_timeout_that_is_none_is_told():
    with pytest.raises(GraphError, match="timeout_seconds: -1 is not"):
        Graph(Plan(name="a plan", steps=(), timeout_seconds=-1))


def test_a_cycle_names_its_members_in_order():
    assert faults(step("a", "c"), step("b", "a"), step("c", "b"), step("d", "c")) == [
        "cycle: a -> c -> b -> a; each of them needs the next",
    ]


def test_two_cycles_are_told_as_two():
    found = faults(step("a", "b"), step("b", "a"), step("c", "a", "d"), step("d", "c"))
    assert found == [
        "cycle: a -> b -> a; each of them needs the next",
        "cycle: c -> d -> c; each of them needs the next",
    ]


def test_a_knot_of_many_cycles_is_told_as_one_of_them():
    [fault] = faults(step("a", "b", "c"), step("b", "a", "c"), step("c", "a", "b"))
    assert fault == "cycle: a -> b -> a; each of them needs the next"


def test_a_long_cycle_is_told_in_short():
    ring = [step(f"s{n}", f"s{(n + 1) % 100}") for n in range(100)]
    [fault] = faults(*ring)
    assert fault.startswith("cycle: s0 -> s1 -> ")
    assert fault.endswith("s19 -> (80 more) -> s0; each of them needs the next")


def test_a_chain_of_100_000_steps_is_judged_and_measured_without_recursion():
    chain = [step("s0")] + [step(f"s{n}", f"s{n - 1}") for n in range(1, 100_000)]
    found = graph(*reversed(chain))
    assert found.length("s0") == 100_000
    assert len(found.critical_path()) == 100_000


EDGES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12, unique=True)


@given(edges=EDGES)
def test_a_cycle_is_found_where_brute_force_finds_one_and_is_a_cycle(edges):
    edges = [(n, need) for n, need in edges if n != need]
    steps = [step(f"s{n}", *[f"s{need}" for at, need in edges if at == n]) for n in range(6)]
    reach = {n: {need for at, need in edges if at == n} for n in range(6)}
    for _ in range(6):
        reach = {n: seen.union(*(reach[one] for one in seen)) if seen else seen for n, seen in reach.items()}
    cyclic = {n for n, seen in reach.items() if n in seen}
    knots = {frozenset(m for m in cyclic if m in reach[n] and n in reach[m]) for n in cyclic}
    if not cyclic:
        assert len(graph(*steps)) == 6
        return
    told = [fault.removeprefix("cycle: ").partition(";")[0].split(" -> ") for fault in faults(*steps)]
    for cycle in told:
        assert cycle[0] == cycle[-1]
        assert all((int(a[1:]), int(b[1:])) in edges for a, b in itertools.pairwise(cycle))
    assert {next(knot for knot in knots if int(cycle[0][1:]) in knot) for cycle in told} == knots


def ways(found, step_id):
    """Every way from a step to the end, by recursion."""
    below = found.dependents(step_id)
    return [[step_id, *way] for one in below for way in ways(found, one)] if below else [[step_id]]


def weigh(found, way):
    return sum(found.step(step_id).weight for step_id in way)


@given(plan=plans(most=8, expanding=False))
def test_the_critical_path_is_the_longest_of_all_ways(plan):
    found = Graph(plan)
    for step_id in found.ids:
        assert found.length(step_id) == max(weigh(found, way) for way in ways(found, step_id))
    longest = max(found.length(step_id) for step_id in found.ids)
    assert weigh(found, found.critical_path()) == longest
    assert list(found.critical_path()) in [way for step_id in found.ids for way in ways(found, step_id)]


def test_of_equally_long_ways_the_critical_one_begins_with_what_was_submitted_first():
    found = graph(step("z"), step("a"), step("b", "z", "a"), step("c", "z", "a"))
    assert found.critical_path() == ("z", "b")


@given(plan=plans(most=8), data=st.data())
def test_a_graph_that_grew_is_the_graph_that_was_there_from_the_start(plan, data):
    grown = Graph(plan)
    added_by = {}
    adding = [one for one in plan.steps if one.expand]
    while adding:
        parent = adding.pop(data.draw(st.integers(0, len(adding) - 1)))
        more_steps = [scripted(**fields) for fields in parent.params["adds"]]
        added = grown.add(parent.id, more_steps)
        added_by |= dict.fromkeys(added.steps, parent.id)
        adding += [one for one in more_steps if one.expand]
    steps = {step_id: grown.step(step_id) for step_id in grown.ids}
    for step_id, one in steps.items():
        assert set(grown.needs(step_id)) == resolved(one, steps, added_by)
        assert len(grown.needs(step_id)) == len(set(grown.needs(step_id)))
        starred = dataclasses.replace(one, needs=tuple(need for need in one.needs if need.endswith("/*")))
        assert grown.adders(step_id) == {need for need in resolved(starred, steps, added_by) if steps[need].expand}
        assert [need for need in grown.ids if step_id in grown.dependents(need)] == sorted(
            grown.needs(step_id), key=grown.order
        )
        assert grown.length(step_id) == max(weigh(grown, way) for way in ways(grown, step_id))


def test_what_a_step_adds_makes_the_way_of_what_it_needs_longer_and_says_so():
    image, first, slow = step("image", weight=3), step("first", weight=2), step("slow", "first", weight=5)
    found = graph(image, first, slow, step("x", "image", expand=more), step("y", "first", weight=100))
    added = found.add("x", [step("x/a", "slow", weight=10), step("x/b", "x"), step("x/c", "y")])
    assert added.longer == ("slow", "y", "first")
    assert [found.length(step_id) for step_id in ("slow", "y", "first")] == [15, 101, 103]
    assert found.length("image") == 4  # it has ended, since x has
    assert found.critical_path() == ("first", "y", "x/c")


def test_what_is_added_has_to_stand_below_its_parent():
    found = graph(step("x", expand=more), step("y"))
    with pytest.raises(GraphError, match="a plan, what x adds: 3 faults\n") as caught:
        found.add("x", [step("y/a"), step("x"), step("xa")])
    assert caught.value.faults == (
        "step x: there is another of this id; ids are unique in a run",
        "step y/a: a bad id; what x adds begins with x/",
        "step xa: a bad id; what x adds begins with x/",
    )
    assert list(found.ids) == ["x", "y"]


def test_what_is_added_must_not_wait_for_what_waits_for_it():
    found = graph(step("x", expand=more), step("join", "x/*"), step("end", "join"))
    with pytest.raises(GraphError) as caught:
        found.add("x", [step("x/a", "end"), step("x/b", "x/*")])
    assert caught.value.faults == (
        "step x/b: needs: x/* is the step itself, or what it is part of",
        "cycle: x/a -> end -> join -> x/a; each of them needs the next",
    )
    assert list(found.needs("join")) == ["x"]


def test_all_that_a_step_adds_is_what_it_added_and_not_what_is_named_like_it():
    found = graph(step("x", expand=more), step("x/own"), step("y", expand=more))
    found.add("x", [step("x/a")])
    found.add("y", [step("y/a", "x/*")])
    assert list(found.needs("y/a")) == ["x", "x/a"]


def test_a_step_may_take_all_that_there_is():
    assert "a" in graph(step("a", uses={"cpus": 8}), limits=Limits(resources={"cpus": 8}))


def test_a_budget_may_name_what_will_be_added():
    budget = FailureBudget(most=1, of=("groups/*/check", "groups/a", "gr*/b/*"))
    found = graph(step("groups", expand=more), step("next", "groups/*", rule=Rule.ALWAYS, gate=budget))
    assert found.matching(budget.of) == ()
    found.add("groups", [step("groups/a"), step("groups/b"), step("groups/a/check")])
    assert found.matching(budget.of) == ("groups/a", "groups/a/check")


def test_steps_are_found_by_pattern_in_the_order_of_submission():
    found = graph(step("b/2"), step("a"), step("c"), step("b/1"))
    assert found.matching(["b/*", "c", "b/2", "nobody"]) == ("b/2", "c", "b/1")
