"""The ECS scheduler as tables: what it launches and stops, what becomes of deployments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tocsin.sandbox.services.ecs.scheduler import (
    STEADY_S,
    Breaker,
    Deployment,
    Failure,
    Rollout,
    Service,
    Step,
    Task,
    breaker_threshold,
    deploy,
    failed,
    schedule,
    throttle_s,
)
from tocsin.sandbox.services.elb.plant import Health

NOW = 1000.0
OLD = Deployment("old", "web:1", 0.0, Rollout.COMPLETED)
NEW = Deployment("new", "web:2", 900.0)


def service(desired: int = 2, *, deployments: tuple[Deployment, ...] = (NEW, OLD), **changes: object) -> Service:
    plain = Service("web", desired, deployments, balanced=True, last_completed=OLD)
    return replace(plain, **changes)  # type: ignore[arg-type]


def tasks(deployment: str, states: str) -> list[Task]:
    """A letter a task: p(ending), r(unning, not checked yet), H(ealthy), U(nhealthy)."""
    health = {"H": Health.HEALTHY, "U": Health.UNHEALTHY}
    return [
        Task(f"{deployment}{i}", deployment, 100.0 + i, None if s == "p" else 200.0, health.get(s, Health.UNKNOWN))
        for i, s in enumerate(states)
    ]


def stopped(step: Step) -> str:
    return " ".join(stop.task for stop in step.stop)


@pytest.mark.parametrize(
    ("desired", "percents", "new", "old", "launch", "stop"),
    [
        # a new service
        (2, (100, 200), "", "", 2, ""),
        (2, (100, 200), "p", "", 1, ""),
        (2, (100, 200), "pp", "", 0, ""),
        (0, (100, 200), "", "", 0, ""),
        # scaled in: what serves nobody yet goes first, then the youngest
        (2, (100, 200), "HHp", "", 0, "new2"),
        (1, (100, 200), "HHH", "", 0, "new2 new1"),
        (0, (100, 200), "HH", "", 0, "new1 new0"),
        # rolling with room for two generations
        (2, (100, 200), "", "HH", 2, ""),
        (2, (100, 200), "rr", "HH", 0, ""),
        (2, (100, 200), "Hr", "HH", 0, "old0"),
        (2, (100, 200), "HH", "HH", 0, "old0 old1"),
        # 150 % of three is four, rounded down; 50 % of three is two, rounded up
        (3, (100, 150), "", "HHH", 1, ""),
        (3, (50, 100), "", "HHH", 0, "old0"),
        (3, (50, 100), "", "HH", 1, ""),
        (2, (0, 100), "", "HH", 0, "old0 old1"),
        # nothing may go and nothing may come: such a deployment never moves, as on AWS
        (2, (100, 100), "", "HH", 0, ""),
        # old tasks that are not healthy are no loss
        (2, (100, 100), "", "HU", 0, "old1"),
        # an unhealthy task is replaced first and stopped then, unless there is no room
        (2, (100, 200), "HU", "", 1, ""),
        (2, (100, 200), "HUp", "", 0, ""),
        (2, (100, 200), "HHU", "", 0, "new2"),
        (2, (100, 100), "HU", "", 0, "new1"),
        (2, (100, 200), "UUUU", "", 0, "new0 new1"),
    ],
)
def test_what_is_launched_and_stopped(
    desired: int, percents: tuple[int, int], new: str, old: str, launch: int, stop: str
) -> None:
    given = service(desired, minimum_healthy_percent=percents[0], maximum_percent=percents[1])
    step = schedule(given, [*tasks("new", new), *tasks("old", old)], NOW)
    assert (step.launch, stopped(step)) == (launch, stop)


def test_the_grace_period_is_counted_from_running() -> None:
    (sick,) = tasks("new", "U")
    assert stopped(schedule(service(0, grace_s=801), [sick], NOW)) == "new0"
    for grace_s, launch in ((801, 0), (799, 1)):
        assert schedule(service(1, grace_s=grace_s), [sick], NOW).launch == launch


def test_a_deployment_is_completed_when_all_is_healthy_and_the_old_ones_are_gone() -> None:
    rolling = schedule(service(), [*tasks("new", "HH"), *tasks("old", "H")], NOW)
    assert rolling.service.primary.rollout is Rollout.IN_PROGRESS
    done = schedule(service(), tasks("new", "HH"), NOW)
    assert [one.rollout for one in done.service.deployments] == [Rollout.COMPLETED]
    assert done.service.last_completed == done.service.primary
    assert done.events == (
        "(service web) (deployment new) deployment completed.",
        "(service web) has reached a steady state.",
    )
    assert schedule(done.service, tasks("new", "HH"), NOW).events == ()


def test_without_a_load_balancer_a_task_is_healthy_when_it_has_run_for_a_while() -> None:
    given = service(1, deployments=(NEW,), balanced=False)
    (task,) = tasks("new", "r")
    for now, rollout in ((200.0 + STEADY_S - 1, Rollout.IN_PROGRESS), (200.0 + STEADY_S, Rollout.COMPLETED)):
        assert schedule(given, [task], now).service.primary.rollout is rollout


@pytest.mark.parametrize(("desired", "threshold"), [(1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (800, 200)])
def test_the_threshold_of_the_circuit_breaker(desired: int, threshold: int) -> None:
    assert breaker_threshold(desired) == threshold


def fail(given: Service, times: int, how: Failure = Failure.LAUNCH) -> Step:
    step = Step(given)
    for _ in range(times):
        step = failed(step.service, given.primary.id, how, NOW)
    return step


@pytest.mark.parametrize("how", list(Failure))
def test_the_circuit_breaker_rolls_back_to_the_last_completed_deployment(how: Failure) -> None:
    given = service(breaker=Breaker(enable=True, rollback=True))
    assert fail(given, 2, how).service.primary.id == "new"
    tripped = fail(given, 3, how)
    assert [(one.id, one.rollout) for one in tripped.service.deployments] == [
        ("old", Rollout.IN_PROGRESS),
        ("new", Rollout.FAILED),
    ]
    assert tripped.events[-1] == "(service web) rolling back to deployment old."
    step = schedule(tripped.service, [*tasks("old", "HH"), *tasks("new", "rp")], NOW)
    assert (step.launch, stopped(step)) == (0, "new0 new1")
    done = schedule(step.service, tasks("old", "HH"), NOW).service
    assert [(one.id, one.rollout) for one in done.deployments] == [("old", Rollout.COMPLETED)]


def test_without_rollback_a_tripped_deployment_launches_nothing_and_the_old_tasks_stay() -> None:
    tripped = fail(service(breaker=Breaker(enable=True)), 3).service
    assert tripped.primary.rollout is Rollout.FAILED
    step = schedule(tripped, [*tasks("new", "U"), *tasks("old", "HH")], NOW + 10_000)
    assert (step.launch, stopped(step)) == (0, "new0")
    again = deploy(step.service, Deployment("third", "web:1", NOW))
    assert schedule(again, tasks("old", "HH"), NOW).launch == 2


def test_without_a_circuit_breaker_failing_launches_are_throttled_and_never_given_up() -> None:
    assert [throttle_s(n) for n in (1, 2, 3, 8, 100)] == [15, 30, 60, 1620, 1620]
    given = service()
    step = fail(given, 3)
    assert step.service.primary.rollout is Rollout.IN_PROGRESS
    assert step.events == ("(service web) is unable to consistently start tasks successfully.",)
    old = tasks("old", "HH")
    assert schedule(step.service, old, NOW + 59).launch == 0
    assert schedule(step.service, old, NOW + 60).launch == 2
    # A new task definition is not throttled.
    assert schedule(deploy(step.service, Deployment("third", "web:3", NOW)), old, NOW).launch == 2


def test_a_task_that_exits_is_replaced_at_once_and_one_healthy_task_ends_the_row() -> None:
    step = fail(service(breaker=Breaker(enable=True)), 2, Failure.EXIT)
    assert schedule(step.service, [], NOW).launch == 2
    reset = schedule(step.service, tasks("new", "H"), NOW).service
    assert reset.primary.failed_tasks == 0
    assert fail(reset, 2, Failure.EXIT).service.primary.rollout is Rollout.IN_PROGRESS


def test_after_completion_nothing_counts_for_the_circuit_breaker() -> None:
    done = schedule(service(breaker=Breaker(enable=True, rollback=True)), tasks("new", "HH"), NOW).service
    assert fail(done, 10, Failure.HEALTH).service.primary == done.primary
