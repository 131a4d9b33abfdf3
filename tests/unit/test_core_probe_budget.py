"""All dead modules together stay below a twentieth of the wire, in turns, in quiet stretches."""

from core_fixtures import MS, START_NS, S

from oht50d.core.probe_budget import MAX_CLAIMANTS, MAX_CREDIT_NS, OVERDUE_NS, SHARE, ProbeBudget, module_claim

T = START_NS
FAR = T + 1000 * S


def quiet() -> ProbeBudget:
    return ProbeBudget(lambda: FAR)


def test_the_next_probe_waits_so_many_times_what_the_last_one_cost() -> None:
    budget = quiet()
    assert budget.may_probe("a", T)
    budget.spend("a", T, T + 25 * MS)
    assert budget.opens_ns == T + SHARE * 25 * MS
    assert not budget.may_probe("a", budget.opens_ns - 1)
    assert budget.may_probe("a", budget.opens_ns)


def test_whoever_asks_the_share_stays_below_a_twentieth() -> None:
    budget, now_ns, spent_ns = quiet(), T, 0
    while now_ns < T + 60 * S:
        for name in ("a", "b", "c"):
            if budget.may_probe(name, now_ns):
                budget.spend(name, now_ns, now_ns + 25 * MS)
                now_ns, spent_ns = now_ns + 25 * MS, spent_ns + 25 * MS
        now_ns += MS
    assert 0.04 < spent_ns / (now_ns - T) < 0.05


def test_claimants_take_turns_and_who_has_stopped_asking_holds_up_nobody() -> None:
    budget, now_ns, served = quiet(), T, []
    for _ in range(9):
        now_ns = max(now_ns, budget.opens_ns)
        for name in ("a", "b", "c"):
            budget.may_probe(name, now_ns)
        (granted,) = (name for name in ("a", "b", "c") if budget.may_probe(name, now_ns))
        served.append(granted)
        budget.spend(granted, now_ns, now_ns + 10 * MS)
    assert sorted(served[:3]) == sorted(served[3:6]) == sorted(served[6:]) == ["a", "b", "c"]
    now_ns = budget.opens_ns + S
    assert budget.may_probe("c", now_ns), "the others have not asked for a second"


def test_a_probe_waits_for_a_moment_in_which_it_makes_nobody_late_and_not_for_ever() -> None:
    quiet_ns = T + 14 * MS
    budget = ProbeBudget(lambda: quiet_ns)
    assert not budget.may_probe("a", T), "25 ms would make a poll 11 ms late"
    assert budget.may_probe("a", T, 20 * MS)
    quiet_ns = T + 600 * MS
    assert budget.may_probe("a", T + 600 * MS), "after 600 ms it goes all the same"


def test_on_a_wire_that_is_never_quiet_a_probe_becomes_overdue_and_then_goes_in_turn() -> None:
    budget = ProbeBudget(lambda: T - S)
    for name in ("a", "b"):
        assert not budget.may_probe(name, T)
    assert not budget.is_overdue("a", T + OVERDUE_NS - 1)
    assert budget.is_overdue("a", T + OVERDUE_NS)
    assert budget.may_probe("a", T + OVERDUE_NS)
    budget.spend("a", T + OVERDUE_NS, T + OVERDUE_NS + 25 * MS)
    opens_ns = budget.opens_ns
    assert not budget.is_overdue("b", opens_ns - 1), "the share is kept"
    for name in ("a", "b"):
        assert not budget.is_overdue(name, opens_ns), "the wait begins anew"
    later_ns = opens_ns + OVERDUE_NS
    assert [name for name in ("b", "a") if budget.is_overdue(name, later_ns)] == ["b"], "it is the other one's turn"


def test_what_was_waited_for_a_quiet_moment_is_not_lost_and_a_long_pause_is_no_credit() -> None:
    quiet_ns = T
    budget = ProbeBudget(lambda: quiet_ns)
    assert not budget.may_probe("a", T)
    quiet_ns = FAR
    assert budget.may_probe("a", T + 300 * MS)
    budget.spend("a", T + 300 * MS, T + 320 * MS)
    assert budget.opens_ns == T + SHARE * 20 * MS
    opens_ns, quiet_ns = budget.opens_ns, T
    assert not budget.may_probe("a", opens_ns)
    budget.spend("a", opens_ns + 10 * S, opens_ns + 10 * S + 20 * MS)
    assert budget.opens_ns == opens_ns + 10 * S - MAX_CREDIT_NS + SHARE * 20 * MS
    rested_ns, quiet_ns = budget.opens_ns + 10 * S, FAR
    assert budget.may_probe("a", rested_ns)
    budget.spend("a", rested_ns, rested_ns + 20 * MS)
    assert budget.opens_ns == rested_ns + SHARE * 20 * MS, "nothing was waited for"


def test_an_opening_forgets_the_debt() -> None:
    budget = quiet()
    budget.spend("a", T, T + 25 * MS)
    budget.reset()
    assert budget.may_probe("a", T)


def test_names_are_bounded() -> None:
    budget = quiet()
    for unit in range(100):
        budget.may_probe(module_claim(unit), T + unit * 200 * MS)
        budget.spend(module_claim(unit), T + unit * S, T + unit * S)
    assert max(len(names) for names in (budget._served_ns, budget._asked_ns)) <= MAX_CLAIMANTS


def test_debt_is_bounded() -> None:
    budget = quiet()
    for _ in range(20):
        budget.spend("a", T, T + 25 * MS)
    assert budget.opens_ns <= T + 25 * MS + 2 * S
