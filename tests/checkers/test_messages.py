"""Messages keep their contract in every act; where some must come and none did, nothing is known."""

from __future__ import annotations

from dataclasses import replace

from tests.checkers.histories import SYSTEM, drop, passing, tweak, without
from tests.checkers.spoiled import SCENE, F, Row, U, check_planted, found, in_act, planted

from tocsin.checkers import judge
from tocsin.model.events import Act, Event, MessagesTapped, TapsOpened
from tocsin.model.messages import Messages, Tap
from tocsin.model.tapped import MessageFailure
from tocsin.model.verdict import Outcome, Reason

ACTS = (Act.BASELINE, Act.FAULT, Act.RECOVERY)
WRONG = MessageFailure(
    message="LabelPrinted",
    part="payload",
    pointer="/label",
    complaint='the value is not of type "string"',
    found="a number",
)

ROWS: list[Row] = [
    *(
        (
            f"a message of the wrong form in {act.value}",
            lambda act=act: tweak(passing(), in_act(act, MessagesTapped), broken=1, failures=(WRONG,)),
            f"messages:labels:{act.value}",
            F,
            Reason.CONTRACT_BROKEN,
        )
        for act in ACTS
    ),
    *(
        (
            f"no message in {act.value}",
            lambda act=act: drop(passing(), in_act(act, MessagesTapped)),
            f"messages:labels:{act.value}",
            U,
            Reason.NO_TRAFFIC,
        )
        for act in ACTS
    ),
    ("no tap was opened", lambda: without(passing(), TapsOpened), "messages:labels:fault", U, Reason.NO_EVIDENCE),
]


@planted(ROWS)
def test_a_planted_bug_is_judged(row: Row) -> None:
    check_planted(row)


def test_a_failure_names_channel_place_what_was_expected_and_what_was_found() -> None:
    history = tweak(passing(), in_act(Act.FAULT, MessagesTapped), broken=1, failures=(WRONG,))
    judgement = found(judge(history), "messages:labels:fault")
    assert judgement.question == "messages of labels keep their contract while it is degraded"
    assert judgement.message == (
        "1 of 13 messages are not as documented: LabelPrinted: payload /label: the value is not of type "
        '"string", found a number (1 times)'
    )


def test_every_tapped_message_is_counted() -> None:
    assert found(judge(passing()), "messages:labels:fault").message == "12 messages, each as documented"


def test_an_act_in_which_none_has_to_come_is_not_observed() -> None:
    history = drop(_with(Tap(queue="label-printed-tap", expected=("baseline",))), in_act(Act.FAULT, MessagesTapped))
    verdict = judge(history)
    assert verdict.outcome is Outcome.PASS
    assert "messages:labels:fault" not in {judgement.id for judgement in verdict.judgements}
    assert "Messages of labels in the fault act: none came, and none had to." in verdict.not_observed


def test_what_nobody_saw_is_told() -> None:
    history = tweak(
        passing(),
        lambda event: isinstance(event, TapsOpened),
        channels={"labels": ("LabelPrinted", "LabelRefused")},
        untapped=("audit",),
    )
    told = judge(history).not_observed
    assert "Messages of audit: documented, and nobody taps them." in told
    assert "Message LabelRefused of labels: documented, and none came that is as it says." in told


def test_a_system_without_a_contract_of_messages_is_told() -> None:
    scene = replace(SCENE, system=SYSTEM.model_copy(update={"messages": None}))
    verdict = judge(scene.history())
    assert "Messages of queues and topics: the system file names no contract of them." in verdict.not_observed
    assert not [judgement for judgement in verdict.judgements if judgement.id.startswith("messages:")]


def _with(tap: Tap) -> list[Event]:
    messages = Messages(document="contracts/parcel-desk.asyncapi.yaml", taps={"labels": tap})
    return replace(SCENE, system=SYSTEM.model_copy(update={"messages": messages})).history()
