from __future__ import annotations

import itertools
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sequential_model import NEVER_RAN, RULES, Ends, contradictions, fitting, met, plans, predict, ran, scripted

from rollout.engine.graph import Graph
from rollout.engine.rules import Change, Counts, Decision, Dependencies, decide
from rollout.engine.spec import AtLeast, Plan, Rule, Step
from rollout.engine.states import BAD_ENDS, ENDS, State

ENDED = st.sampled_from(sorted(ENDS))


def step(step_id, *needs, **fields):
    return Step(id=step_id, backend="fake", needs=needs, **fields)


def dependencies(*steps):
    found = Dependencies(Graph(Plan(name="a plan", steps=steps)))
    found.begin()
    return found


def counts_of(states, total):
    return Counts(
        total=total,
        ended=len(states),
        passed=states.count(State.PASSED),
        bad=sum(state in BAD_ENDS for state in states),
        started=sum(state not in NEVER_RAN for state in states),
    )


def told(changes: list[Change]):
    return [(change.step, change.decision) for change in changes]


@given(rule=RULES, states=st.lists(ENDED, min_size=1, max_size=6), known=st.integers(0, 6))
def test_a_rule_decides_as_soon_as_no_end_could_change_it_and_never_otherwise(rule, states, known):
    """Brute force: what it would be with every way in which the steps that have not ended can still end."""
    rule = fitting(rule, states)
    known = min(known, len(states))
    left = len(states) - known
    ways = [[]]
    for _ in range(left):
        ways = [[*way, state] for way in ways for state in (State.PASSED, State.FAILED, State.SKIPPED)]
    possible = {met(rule, [*states[:known], *way]) for way in ways}
    decision = decide(rule, counts_of(states[:known], len(states)))
    waits_for_all = rule in (Rule.ALWAYS, Rule.ON_FAILURE) or (
        # all of them waits for the last one even where it is a rule of a threshold that has been met
        rule is Rule.ALL and possible == {True}
    )
    if left and (len(possible) == 2 or waits_for_all):
        assert decision is Decision.WAIT
    else:
        assert decision is (Decision.RUN if possible == {True} else Decision.SKIP)


@given(rule=RULES, states=st.lists(ENDED, max_size=6))
def test_while_a_run_is_being_stopped_only_cleanup_after_something_that_began_is_asked_for(rule, states):
    rule = fitting(rule, states)
    decision = decide(rule, counts_of(states, len(states)), stopping=True)
    began = any(state not in NEVER_RAN for state in states)
    assert decision is (Decision.RUN if rule is Rule.ALWAYS and began else Decision.CANCEL)


def test_cleanup_waits_for_all_even_while_the_run_is_being_stopped():
    waiting = counts_of([State.KILLED], 2)
    assert decide(Rule.ALWAYS, waiting, stopping=True) is Decision.WAIT


def test_a_share_is_rounded_up_to_whole_steps():
    four_of_five = AtLeast(share=0.8)
    assert decide(four_of_five, counts_of([State.PASSED] * 4, 5)) is Decision.RUN
    assert decide(four_of_five, counts_of([State.PASSED] * 4, 6)) is Decision.WAIT
    assert decide(AtLeast(share=0.1), counts_of([State.PASSED], 30)) is Decision.WAIT
    assert decide(AtLeast(share=0.1), counts_of([State.PASSED] * 3, 30)) is Decision.RUN
    assert 0.28 * 25 > 7  # and is still seven steps
    assert decide(AtLeast(share=0.28), counts_of([State.PASSED] * 7, 25)) is Decision.RUN


def test_a_share_of_what_may_still_grow_is_not_known_yet_and_a_number_of_steps_is():
    growing = Counts(total=2, ended=1, passed=1, started=1, growing=1)
    assert decide(AtLeast(share=0.5), growing) is Decision.WAIT
    assert decide(AtLeast(steps=1), growing) is Decision.RUN
    assert decide(AtLeast(steps=9), growing) is Decision.WAIT


def test_an_end_is_passed_on_down_a_chain_of_100_000_steps_in_one_call():
    """Recursion ended a run of 600 (weakness 5)."""
    chain = [step("0")] + [step(str(n), str(n - 1)) for n in range(1, 100_000)]
    assert len(chain) > 10 * sys.getrecursionlimit()
    found = dependencies(*chain)
    changes = found.settle("0", State.FAILED, started=True)
    assert len(changes) == len(chain) - 1
    assert {change.decision for change in changes} == {Decision.SKIP}
    assert changes[-1].reason.message == "99998 was skipped, since 0 failed"
    assert changes[-1].reason.cause == "0"


def test_the_nearest_are_told_first_and_each_once():
    found = dependencies(
        step("a"), step("d", "b", "c"), step("c", "a"), step("b", "a"), step("after-c", "c"), step("after-b", "b")
    )
    changes = found.settle("a", State.FAILED, started=True)
    assert [change.step for change in changes] == ["c", "b", "d", "after-c", "after-b"]
    assert {change.decision for change in changes} == {Decision.SKIP}
    assert found.settle("a", State.FAILED, started=True) == []
    assert found.stop() == []


def test_an_end_that_is_told_twice_counts_once():
    """A completion that came twice made a job run twice (weakness 8)."""
    found = dependencies(step("a"), step("b"), step("c", "a", "b"))
    assert found.settle("a", State.PASSED, started=True) == []
    assert found.settle("a", State.PASSED, started=True) == []
    assert told(found.settle("b", State.PASSED, started=True)) == [("c", Decision.RUN)]


def test_reasons_follow_facts_and_name_the_cause():
    """A dependent was told that what it needs was killed, when it had passed (weakness 12)."""
    found = dependencies(
        step("good"),
        step("bad"),
        step("both", "good", "bad"),
        step("after", "both"),
        step("either", "good", "bad", rule=Rule.ANY),
    )
    [either] = found.settle("good", State.PASSED, started=True)
    assert either.decision is Decision.RUN
    assert either.reason.message == "1 of 2 needs passed, 0 failed (rule any)"
    both, after = found.settle("bad", State.KILLED, started=True)
    assert (both.reason.message, both.reason.cause) == ("bad was killed", "bad")
    assert (after.reason.message, after.reason.cause) == ("both was skipped, since bad was killed", "bad")


@pytest.mark.parametrize(
    ("state", "verb"),
    [
        (State.FAILED, "failed"),
        (State.TIMED_OUT, "timed out"),
        (State.KILLED, "was killed"),
        (State.CANCELLED, "was cancelled"),
        (State.SKIPPED, "was skipped"),
    ],
)
def test_a_reason_says_how_the_cause_ended(state, verb):
    found = dependencies(step("a"), step("b", "a"))
    [change] = found.settle("a", state, started=state not in NEVER_RAN)
    assert change.reason.message == f"a {verb}"


def test_a_failure_is_blamed_rather_than_what_was_skipped():
    found = dependencies(step("a"), step("b"), step("c"), step("any", "a", "b", "c", rule=Rule.ANY))
    found.settle("a", State.SKIPPED, started=False)
    found.settle("b", State.FAILED, started=True)
    [change] = found.settle("c", State.TIMED_OUT, started=True)
    assert (change.reason.message, change.reason.cause) == ("none of 3 needs passed: b failed", "b")


def test_a_threshold_says_what_it_asks_for_and_where_it_stands():
    found = dependencies(step("a"), step("b"), step("most", "a", "b", rule=AtLeast(share=0.9)))
    found.settle("a", State.PASSED, started=True)
    [change] = found.settle("b", State.FAILED, started=True)
    assert change.reason.message == "1 of 2 needs passed and 2 have to: b failed"


def test_a_way_back_is_not_taken_where_nothing_failed_and_says_so():
    found = dependencies(step("a"), step("back", "a", rule=Rule.ON_FAILURE))
    [change] = found.settle("a", State.PASSED, started=True)
    assert (change.decision, change.reason.code) == (Decision.SKIP, "nothing-failed")
    assert change.reason.message == "none of 1 need failed"


def test_what_was_added_is_waited_for_before_a_step_that_needs_all_of_it():
    graph = Graph(Plan(name="a plan", steps=(scripted("x", adds=[{"step_id": "x/a"}]), step("join", "x/*"))))
    found = Dependencies(graph)
    assert told(found.begin()) == [("x", Decision.RUN)]
    added = graph.add("x", [scripted("x/a", adds=[{"step_id": "x/a/b"}])])
    assert told(found.grow(added)) == [("x/a", Decision.RUN)]
    assert found.settle("x", State.PASSED, started=True) == []
    added = graph.add("x/a", [scripted("x/a/b")])
    assert told(found.grow(added)) == [("x/a/b", Decision.RUN)]
    assert found.settle("x/a", State.PASSED, started=True) == []
    assert told(found.settle("x/a/b", State.PASSED, started=True)) == [("join", Decision.RUN)]


def test_what_is_added_may_need_what_has_ended_long_ago():
    graph = Graph(Plan(name="a plan", steps=(step("good"), step("bad"), scripted("x", adds=[{"step_id": "x/a"}]))))
    found = Dependencies(graph)
    found.settle("good", State.PASSED, started=True)
    found.settle("bad", State.FAILED, started=True)
    added = graph.add("x", [step("x/a", "good"), step("x/b", "bad"), step("x/c", "good", "x")])
    assert told(found.grow(added)) == [("x/a", Decision.RUN), ("x/b", Decision.SKIP)]
    assert told(found.settle("x", State.PASSED, started=True)) == [("x/c", Decision.RUN)]


def test_what_is_added_after_its_parent_ended_is_a_bug_of_the_caller():
    graph = Graph(Plan(name="a plan", steps=(scripted("x", adds=[{"step_id": "x/a"}]),)))
    found = Dependencies(graph)
    found.settle("x", State.PASSED, started=True)
    added = graph.add("x", [scripted("x/a")])
    with pytest.raises(AssertionError, match="x ended before what it adds was there"):
        found.grow(added)


def test_too_few_added_steps_are_no_fault_of_any_one_of_them():
    join = step("join", "x/*", rule=AtLeast(steps=3))
    found = dependencies(scripted("x", adds=[{"step_id": "x/a"}]), join)
    [change] = found.settle("x", State.PASSED, started=True)
    assert (change.reason.message, change.reason.cause) == ("1 of 1 need passed and 3 have to", "")


def test_a_stop_cancels_what_waits_and_lets_cleanup_come_once_what_began_has_ended():
    found = dependencies(
        step("runs"),
        step("next", "runs"),
        step("cleanup", "runs", rule=Rule.ALWAYS),
        step("other-cleanup", "next", rule=Rule.ALWAYS),
    )
    assert told(found.stop()) == [("next", Decision.CANCEL), ("other-cleanup", Decision.CANCEL)]
    assert told(found.settle("runs", State.PASSED, started=True)) == [("cleanup", Decision.RUN)]
    assert found.may_run_in_a_stop("cleanup")
    assert not found.may_run_in_a_stop("runs")


class RulesAlone:
    """A run of nothing but the rules: what may run is taken in any order, and ends as its script says."""

    def __init__(self, plan, choose):
        self.graph = Graph(plan)
        self.choose = choose
        self.rules = Dependencies(self.graph)
        self.states: dict[str, State] = {}
        self.added_by: dict[str, str] = {}
        self.ready: list[str] = []
        self.decided: list[str] = []

    def take(self, changes: list[Change]):
        for change in changes:
            self.decided.append(change.step)
            if change.decision is Decision.RUN:
                self.ready.append(change.step)
            else:
                self.states[change.step] = State.SKIPPED if change.decision is Decision.SKIP else State.CANCELLED

    def cancel(self, step_id):
        self.states[step_id] = State.CANCELLED
        self.take(self.rules.settle(step_id, State.CANCELLED, started=False))

    def stop(self):
        self.take(self.rules.stop())
        for step_id in [step_id for step_id in self.ready if not self.rules.may_run_in_a_stop(step_id)]:
            self.ready.remove(step_id)
            self.cancel(step_id)

    def run(self, *, stop_after=None):
        self.take(self.rules.begin())
        for ran_already in itertools.count():
            if ran_already == stop_after:
                self.stop()
            if not self.ready:
                return
            step_id = self.ready.pop(self.choose(len(self.ready)))
            state, added = ran(self.graph.step(step_id), Ends())
            if added:
                new = self.graph.add(step_id, added)
                self.added_by |= dict.fromkeys(new.steps, step_id)
                self.take(self.rules.grow(new))
            self.states[step_id] = state
            self.take(self.rules.settle(step_id, state, started=True))


@given(plan=plans(), data=st.data())
def test_whatever_the_order_every_step_ends_as_the_sequential_model_says(plan, data):
    cancelled = data.draw(st.sets(st.sampled_from([step.id for step in plan.steps]), max_size=1))
    run = RulesAlone(plan, lambda n: data.draw(st.integers(0, n - 1)))
    for step_id in cancelled:
        run.cancel(step_id)
    run.run()
    assert run.states == predict(plan, cancelled=cancelled).states
    assert set(run.states) == set(run.graph.ids)
    assert len(run.decided) == len(set(run.decided))


@given(plan=plans(), stop_after=st.integers(0, 12), data=st.data())
def test_a_stop_at_any_moment_leaves_ends_that_follow_from_each_other(plan, stop_after, data):
    run = RulesAlone(plan, lambda n: data.draw(st.integers(0, n - 1)))
    run.run(stop_after=stop_after)
    assert set(run.states) == set(run.graph.ids)
    assert len(run.decided) == len(set(run.decided))
    steps = [run.graph.step(step_id) for step_id in run.graph.ids]
    assert contradictions(steps, run.states, run.added_by, stopped=True) == []
