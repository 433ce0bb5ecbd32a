"""The rule of a composite alarm of CloudWatch, as a pure function of the states of other alarms.

Source: *Composite alarms*, https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-combining.html, and
PutCompositeAlarm, https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from lark import Lark, Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from tocsin.errors import InvalidInput
from tocsin.model.alarm_limits import CHILDREN, ELEMENTS, PARENTS

States = Mapping[str, str]
"""Alarm name -> its state."""
_Holds = Callable[[States], bool]

# NOT binds tighter than AND, AND tighter than OR. A bare name ends at a space, a comma or a parenthesis.
_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction ("OR" conjunction)*
?conjunction: negation ("AND" negation)*
?negation: "NOT" negation -> negated
         | primary
?primary: "(" disjunction ")" -> group
        | "TRUE" -> always
        | "FALSE" -> never
        | STATE "(" name ")" -> in_state
        | "AT_LEAST" "(" amount "," condition "," "(" name ("," name)* ")" ")" -> at_least
amount: NUMBER [PERCENT]
condition: [NOT] STATE
name: BARE | QUOTED
NOT: "NOT"
STATE: "ALARM" | "OK" | "INSUFFICIENT_DATA"
NUMBER: /\d+/
PERCENT: "%"
BARE: /[^\s(),"]+/
QUOTED: /"(?:[^"\\]|\\.)*"/
%ignore /\s+/
"""


class CompositeRule:
    """A parsed `AlarmRule`: ALARM(x), OK(x), INSUFFICIENT_DATA(x), AT_LEAST, AND, OR, NOT, TRUE, FALSE, parentheses.

    `AT_LEAST(2, ALARM, (a, b, c))` counts alarms, `AT_LEAST(50%, NOT OK, (a, b, c))` a share of them. An alarm is
    named bare, in double quotes, or by its ARN.

    Raises:
        InvalidInput: the rule cannot be read, or is larger than CloudWatch takes.
    """

    def __init__(self, rule: str) -> None:
        self.rule = rule
        try:
            tree = _parser().parse(rule)
        except UnexpectedInput as error:
            raise InvalidInput(_unreadable(rule, error)) from None
        self._names: set[str] = set()
        self._elements = 0
        self._only_rings = True
        try:
            self._holds = self._read(tree)
        except RecursionError:
            raise InvalidInput("AlarmRule: expected fewer parentheses within each other") from None
        for limit, found in ((CHILDREN, len(self._names)), (ELEMENTS, self._elements)):
            try:
                limit.check(found)
            except ValueError as error:
                raise InvalidInput(f"AlarmRule: {error}") from None

    @property
    def children(self) -> frozenset[str]:
        """Names of the alarms that the rule looks at."""
        return frozenset(self._names)

    @property
    def only_rings(self) -> bool:
        """Whether the rule asks of an alarm only that it is in ALARM: the easier those ring, the easier it does."""
        return self._only_rings

    def holds(self, states: States) -> bool:
        """Whether the composite alarm is in ALARM; an alarm that is not in `states` matches no state."""
        return self._holds(states)

    def _read(self, tree: Tree[Any]) -> _Holds:
        read: _Holds = getattr(self, f"_{tree.data}")(tree.children)
        return read

    def _disjunction(self, children: Sequence[Tree[Any]]) -> _Holds:
        parts = [self._read(child) for child in children]
        return lambda states: any(part(states) for part in parts)

    def _conjunction(self, children: Sequence[Tree[Any]]) -> _Holds:
        parts = [self._read(child) for child in children]
        return lambda states: all(part(states) for part in parts)

    def _negated(self, children: Sequence[Tree[Any]]) -> _Holds:
        self._only_rings = False
        inner = self._read(children[0])
        return lambda states: not inner(states)

    def _group(self, children: Sequence[Tree[Any]]) -> _Holds:
        self._elements += 2
        return self._read(children[0])

    def _always(self, _: Sequence[Any]) -> _Holds:
        self._elements += 1
        return lambda _: True

    def _never(self, _: Sequence[Any]) -> _Holds:
        self._elements += 1
        return lambda _: False

    def _in_state(self, children: Sequence[Any]) -> _Holds:
        state, name = str(children[0]), self._name(children[1])
        self._only_rings &= state == "ALARM"
        return lambda states: states.get(name) == state

    def _at_least(self, children: Sequence[Tree[Any]]) -> _Holds:
        amount, condition, *named = children
        names = [self._name(name) for name in named]
        number, is_share = int(str(amount.children[0])), len(amount.children) == 2
        state, negated = str(condition.children[-1]), len(condition.children) == 2
        self._only_rings &= state == "ALARM" and not negated
        most = 100 if is_share else len(names)
        if not 1 <= number <= most:
            raise InvalidInput(
                f"AlarmRule: expected AT_LEAST of 1 to {most}{'%' * is_share}, found {number} in: {self.rule}"
            )

        def holds(states: States) -> bool:
            counted = sum((states.get(name) == state) != negated for name in names if name in states)
            return 100 * counted >= number * len(names) if is_share else counted >= number

        return holds

    def _name(self, tree: Tree[Any]) -> str:
        written = str(tree.children[0])
        text = written[1:-1].replace('\\"', '"') if written.startswith('"') else written
        name = text.rpartition(":alarm:")[2]
        self._names.add(name)
        self._elements += 1
        return name


def in_cycles(children: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """Those alarms whose rule looks at itself in the end, given the children of every rule.

    "The evaluation of composite alarms stops if CloudWatch detects a cycle in the evaluation path": PutCompositeAlarm.
    """
    return frozenset(name for name in children if name in _below(name, children))


def in_order(needed: Mapping[str, Iterable[str]]) -> list[str]:
    """Alarms in an order in which each stands after those that it needs, as far as none needs itself in the end."""
    left, ordered = {name: set(others) - {name} for name, others in needed.items()}, []
    while left:
        ready = [name for name, others in left.items() if not others & left.keys()]
        ordered += ready or list(left)
        left = {name: others for name, others in left.items() if ready and name not in ready}
    return ordered


def check_parents(children: Mapping[str, Iterable[str]]) -> None:
    """Raises InvalidInput where more composite alarms look at one alarm than CloudWatch takes; given every rule's."""
    counted = Counter(child for below in children.values() for child in set(below))
    for child, found in counted.most_common(1):
        try:
            PARENTS.check(found)
        except ValueError as error:
            raise InvalidInput(f"{error}: {child}") from None


def _below(name: str, children: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    ahead = list(children[name])
    while ahead:
        one = ahead.pop()
        if one not in found:
            found.add(one)
            ahead += children.get(one, ())
    return found


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


def _unreadable(rule: str, error: UnexpectedInput) -> str:
    at = error.pos_in_stream or 0
    ended = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    found = "the end" if ended else f"'{rule[at : at + 20]}'"
    return (
        "AlarmRule: expected ALARM(...), OK(...), INSUFFICIENT_DATA(...), AT_LEAST(...), TRUE, FALSE, joined by AND, "
        f"OR and NOT; found {found} where it cannot stand in: {rule}"
    )
