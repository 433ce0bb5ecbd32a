"""Do the messages keep their contract before, during and after the fault?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tocsin.checkers.answers import Answer, NotObserved, Question
from tocsin.checkers.timeline import Timeline
from tocsin.model.events import Act, MessagesTapped, TapsOpened
from tocsin.model.messages import Tap
from tocsin.model.verdict import Judgement, Reason

SHOWN = 3
"""Failures named in the message; the history holds more of them."""
_WHEN = {
    Act.BASELINE: "keep their contract before the fault",
    Act.FAULT: "keep their contract while it is degraded",
    Act.RECOVERY: "keep their contract again after the recovery",
}


def check_messages(timeline: Timeline) -> Iterator[Answer]:
    """Every message that was tapped is as documented; where some must come and none did, nothing is known."""
    messages = timeline.system.messages
    if messages is None:
        yield NotObserved("Messages of queues and topics: the system file names no contract of them.")
        return
    opened = next(iter(timeline.of_kind(TapsOpened)), None)
    tapped = timeline.of_kind(MessagesTapped)
    for name, tap in messages.taps.items():
        own = [event for event in tapped if event.channel == name]
        for act in _WHEN:
            yield from _act(name, tap, act, [event for event in own if event.act is act], opened)
        yield from _never_seen(name, own, opened)
    for name in opened.untapped if opened is not None else ():
        yield NotObserved(f"Messages of {name}: documented, and nobody taps them.")


def _act(name: str, tap: Tap, act: Act, tapped: list[MessagesTapped], opened: TapsOpened | None) -> Iterator[Answer]:
    question = Question(f"messages:{name}:{act.value}", f"messages of {name} {_WHEN[act]}")
    read, broken = sum(event.messages for event in tapped), sum(event.broken for event in tapped)
    if broken:
        yield _broken(question, tapped, read, broken)
    elif opened is None:
        yield question.unknown(Reason.NO_EVIDENCE, "no tap was opened")
    elif read:
        yield question.passed(f"{read} messages, each as documented", messages=read)
    elif act.value in tap.expected:
        source = f"still subscribed to {tap.topic}, without a filter that keeps them out" if tap.topic else "filled"
        yield question.unknown(Reason.NO_TRAFFIC, f"no message came into {tap.queue}. Is it {source}?", messages=0)
    else:
        yield NotObserved(f"Messages of {name} in the {act.value} act: none came, and none had to.")


def _broken(question: Question, tapped: list[MessagesTapped], read: int, broken: int) -> Judgement:
    counts: Counter[str] = Counter()
    for failure in (failure for event in tapped for failure in event.failures):
        at = f"{failure.part} {failure.pointer}".strip()
        counts[f"{failure.message}: {at}: {failure.complaint}, found {failure.found}"] += failure.count
    named = "; ".join(f"{words} ({count} times)" for words, count in counts.most_common(SHOWN))
    more = f"; and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    message = f"{broken} of {read} messages are not as documented: {named}{more}"
    return question.failed(Reason.CONTRACT_BROKEN, message, messages=read, broken=broken)


def _never_seen(name: str, tapped: list[MessagesTapped], opened: TapsOpened | None) -> Iterator[NotObserved]:
    seen = {message for event in tapped for message in event.kept}
    for message in opened.channels.get(name, ()) if opened is not None and tapped else ():
        if message not in seen:
            yield NotObserved(f"Message {message} of {name}: documented, and none came that is as it says.")
