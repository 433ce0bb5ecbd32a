"""Sessions of one process load botocore's models once, and each of them those of its own data path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tocsin.aws.target import Target
from tocsin.sandbox.account import Account
from tocsin.sandbox.keys import Keys


def a_target(**named: str) -> Target:
    return Target("none", "eu-west-1", access_key_id="x", secret_access_key="x", **named)


def model_of(session: object) -> object:
    """What the next client of SQS is made from."""
    loader = session._session.get_component("data_loader")  # type: ignore[attr-defined]
    return loader.load_service_model("sqs", "service-2")


def test_two_sessions_load_a_model_once() -> None:
    assert model_of(a_target().session) is model_of(a_target().session)


def test_in_a_role_too() -> None:
    in_a_role = a_target(role_arn="arn:aws:iam::123456789012:role/drill")
    assert model_of(in_a_role.session) is model_of(a_target().session)


def test_the_host_of_the_sandbox_too() -> None:
    account = Account("http://127.0.0.1:1", "eu-west-1", "123456789012", 60.0, Keys.new("123456789012"))
    assert model_of(account._session) is model_of(a_target().session)


def test_a_data_path_of_its_own_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = model_of(a_target().session)
    place = tmp_path / "sqs" / "2012-11-05"
    place.mkdir(parents=True)
    (place / "service-2.json").write_text(json.dumps({"metadata": {"serviceId": "mine"}, "operations": {}}))
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    assert model_of(a_target().session) == {"metadata": {"serviceId": "mine"}, "operations": {}}
    monkeypatch.delenv("AWS_DATA_PATH")
    assert model_of(a_target().session) is plain


def test_no_session_lengthens_the_path_of_the_others() -> None:
    paths = [len(a_target().session._session.get_component("data_loader").search_paths) for _ in range(3)]
    assert len(set(paths)) == 1
