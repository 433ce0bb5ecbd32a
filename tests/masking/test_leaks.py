"""Ninety forms of secrets are hidden, in a text and in a history; and what is none stays."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from tests.masking import leaks
from tests.secret_scan import Secret, files_below
from tests.secret_scan import leaks as found_in

from tocsin.masking import HIDDEN, KNOWN, KnownSecrets, mask, mask_all, mask_document
from tocsin.masking.names import HEADERS, NAMES, STEMS, WEAK_NAMES
from tocsin.model.events import Act, ActivityRan
from tocsin.record.history import History

KNOWN_VALUES = {"nasty": leaks.nasty("known"), "plain": leaks.plain("known"), "é": "Kq7vZ-clé-secrète-mW93x"}


@pytest.fixture(autouse=True)
def _knows() -> None:
    for value in KNOWN_VALUES.values():
        KNOWN.learn(value)


def told(text: str) -> None:
    assert HIDDEN in text
    assert leaks.FRONT not in text, text
    assert leaks.BACK not in text, text


@pytest.mark.parametrize("value", KNOWN_VALUES.values(), ids=KNOWN_VALUES)
@pytest.mark.parametrize("write", leaks.KNOWN.values(), ids=leaks.KNOWN)
def test_a_value_that_is_known_is_hidden_however_it_is_written(write: leaks.Write, value: str) -> None:
    text = write(value)
    masked = mask(text)
    told(masked)
    assert not [form for form in Secret("it", value).forms() if form in masked.encode()], masked
    assert mask(masked) == masked


@pytest.mark.parametrize("value", [KNOWN_VALUES["nasty"], KNOWN_VALUES["plain"]], ids=["nasty", "plain"])
@pytest.mark.parametrize("write", leaks.LAID_OUT.values(), ids=leaks.LAID_OUT)
def test_a_value_that_is_known_is_hidden_however_it_is_laid_out(write: leaks.Write, value: str) -> None:
    masked = mask(write(value))
    told(masked)
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Kq7vZ... and more",
        "Kq7v\nZ, and more",
        "see ... mW93x",
        "a...b, \x1b[31mred\x1b[0m",
    ],
)
def test_what_is_laid_out_and_holds_none_stays(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("make", [leaks.nasty, leaks.plain])
@pytest.mark.parametrize("form", leaks.NAMED)
def test_one_that_nobody_knows_is_hidden_by_its_name_or_its_look(form: str, make: leaks.Write) -> None:
    masked = mask(leaks.NAMED[form](make(form)))
    told(masked)
    assert mask(masked) == masked


def test_no_history_holds_one_in_any_form(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    texts = [write(value) for write in leaks.KNOWN.values() for value in KNOWN_VALUES.values()]
    texts += [write(leaks.nasty(form)) for form, write in leaks.NAMED.items()]
    for text in texts:
        history.record(ActivityRan(at=1.0, act=Act.FAULT, name="say", ok=False, duration_s=0.1, detail=text))
    history.close()
    lines = history.path.read_text()
    assert lines.count('"kind":"activity_ran"') == len(texts)
    told(lines)
    assert not found_in([Secret(name, value) for name, value in KNOWN_VALUES.items()], files_below(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "password of the user: not needed",
        "the token: expired, and no session: ended",
        "expected a token in `x-api-key`, found none",
        "next_token is empty; NextToken=None; the cookie: gone",
        "http://127.0.0.1:4566/a@b and https://host:8080?x=a@b, ws://h:1",
        '{"SecretId": "shop/db", "AccessKeyId": "AKIA-of-the-owner", "tokens": 4}',
        "session: true, Authorization: none",
        "<Tokens>4</Tokens> <Password></Password>",
        "sk-learn and xoxo, ghp_short, AIza",
        'password: "${password}"',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize(
    ("value", "text", "masked"),
    [
        ("abc", "abc, and abc=abc", "abc, and abc=abc"),
        ("true", "it is true", "it is true"),
        ("Postgres", "postgres and Postgres", "postgres and Postgres"),
        ("8080", "port 8080", "port 8080"),
        ("tick", "tick of a ticket, tick-tock", f"{HIDDEN} of a ticket, {HIDDEN}-tock"),
        ("481516", "481516 and 14815162", f"{HIDDEN} and 14815162"),
        ("velvet-harbour", "a-velvet-harbours", f"a-{HIDDEN}s"),
        ("velvet-harbour", "cut: velvet-h", f"cut: {HIDDEN}"),
        ("velvet-harbour", "cut: velvet-", "cut: velvet-"),
        ("${till}", "the ${till}", "the ${till}"),
        ("arn:aws:sns:eu-west-1:1:x", "arn:aws:sns:eu-west-1:1:x", "arn:aws:sns:eu-west-1:1:x"),
    ],
)
def test_short_and_common_values_do_not_wreck_a_history(value: str, text: str, masked: str) -> None:
    known = KnownSecrets()
    known.learn(value)
    assert known.hide(text) == masked


def test_a_secret_in_json_is_known_by_its_values_but_not_where_it_leads() -> None:
    known = KnownSecrets()
    known.learn(json.dumps({"host": "shop-db-1", "username": "shopkeeper", "password": "plum-velvet", "port": 15432}))
    hidden = known.hide("shopkeeper at shop-db-1:15432 with plum-velvet")
    assert hidden == f"shopkeeper at shop-db-1:15432 with {HIDDEN}"


def test_of_many_users_only_the_passwords_are_known() -> None:
    known = KnownSecrets()
    known.learn(json.dumps({"users": ["employee-1", {"username": "employee-2", "password": "amber-lantern"}]}))
    known.learn(json.dumps({"users": ["employee-3"], "password": "plum-velvet"}))
    told = "employee-1, employee-2, employee-3"
    assert known.hide(f"{told}: plum-velvet and amber-lantern") == f"{told}: {HIDDEN} and {HIDDEN}"


def test_documents_hide_by_name_too() -> None:
    document = {"arguments": {"db_password": "x1", "secret": "shop/db", "token": "${till}", "tokens": [1]}, "pin": 1}
    expected = {"arguments": {"db_password": HIDDEN, "secret": "shop/db", "token": "${till}", "tokens": [1]}, "pin": 1}
    assert mask_document(document) == expected


def test_a_name_that_is_a_secret_is_hidden() -> None:
    assert mask_all({KNOWN_VALUES["plain"]: 1}) == {HIDDEN: 1}


def test_every_name_has_a_source_and_one_of_the_stems() -> None:
    names = {**NAMES, **WEAK_NAMES, **HEADERS}
    assert [name for name, source in names.items() if not source.startswith("https://")] == []
    assert [name for name in names if not any(stem in name.replace("-", "") for stem in STEMS)] == []


def test_a_thousand_values_are_one_pattern_and_one_pass() -> None:
    """Counted, not timed: what is looked up is how many places begin as a value does, not how many values there are."""
    known = KnownSecrets()
    for index in range(1000):
        known.learn(f"{index:04}-" + leaks.plain(str(index)))
    known.learn("0007-" + leaks.plain("7")[:-2])
    known.learn("0007-" + leaks.plain("7"))
    text = "nothing of it. " * 1000
    assert known.hide(text) == text
    assert known.hide(f"{text}0999-{leaks.plain('999')}") == f"{text}{HIDDEN}"


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Authorization": "Bearer plum-velvet"}, "no plum-velvet"),
        ({"authorization": "Basic " + base64.b64encode(b"ann:plum-velvet").decode()}, "no plum-velvet"),
        ({"Cookie": "theme=dark; sid=plum-velvet"}, "no plum-velvet"),
        ({"x-api-key": "plum-velvet"}, "no plum-velvet"),
        ([{"name": "DB_PASSWORD", "value": "plum-velvet"}], "no plum-velvet"),
        ({"SecretString": '{"username": "ann", "pin": "plum-velvet"}'}, "no plum-velvet"),
    ],
)
def test_what_is_sent_under_the_name_of_a_secret_is_known_afterwards(headers: object, text: str) -> None:
    known = KnownSecrets()
    known.learn_named(headers)
    assert known.hide(f"{text} of ann, who likes dark Bearer") == f"no {HIDDEN} of ann, who likes dark Bearer"


@pytest.mark.parametrize("form", sorted(leaks.KNOWN.keys() - {"cut off"}))
def test_the_scan_of_a_session_would_find_it(form: str, tmp_path: Path) -> None:
    value = leaks.plain(form)
    (tmp_path / "a.log").write_text(leaks.KNOWN[form](value))
    assert found_in([Secret("it", value)], files_below(tmp_path)) == [f"{tmp_path / 'a.log'} holds it"]
