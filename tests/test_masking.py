"""What a system or AWS repeats of a token, a password or a signature is in no message and in no history."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tocsin.aws.target import aws_errors
from tocsin.cli import one_message
from tocsin.errors import TargetError, TocsinError
from tocsin.masking import HIDDEN, mask, mask_all
from tocsin.model.events import Act, ActivityRan, AlarmsPolled, Event
from tocsin.project.histories import read_history
from tocsin.record.history import History

TOKEN = ".".join(["ey" + "JhbGciOiJub25lIn0", "e30", "c2lnbmF0dXJl"])
OPAQUE = "k3y-0paque-4711"
SIGNATURE = "5f1c" * 16

SHOWN = [
    # An API Gateway that cannot read the header.
    f"Invalid key=value pair (missing equal-sign) in Authorization header: 'Bearer {TOKEN}'.",
    f"Illegal header value b'Bearer {OPAQUE}\\n'",
    # AWS, where a signature does not match: the whole canonical request.
    f"The Canonical String should have been 'POST\n/\n\nhost:x\nx-amz-security-token:{OPAQUE * 3}\n'",
    f"AWS4-HMAC-SHA256 Credential=AKIA/20260801, SignedHeaders=host, Signature={SIGNATURE}",
    f"could not connect to postgresql://owner:{OPAQUE}@127.0.0.1:5432/app",
    f'found 500 {{"user": "a", "password": "{OPAQUE}"}}',
    f"{{'access_token': '{OPAQUE}', 'expires_in': 3600}}",
    f"GET /x?access_token={OPAQUE}&page=2",
]
HARMLESS = [
    "expected 200, found 401 Bearer authentication required",
    "the signature: mismatch",
    "GRAPH_CLIENT_SECRET of the function calendarSyncWorker",
    "secret 'shop/synthetic/user': expected JSON with `username` and `password`, found something else",
    "http://127.0.0.1:4566/_aws, https://example.com:443/a@b",
    "eye on the eyJ of a word",
]


@pytest.mark.parametrize("text", SHOWN)
def test_a_secret_that_is_repeated_is_not_shown(text: str) -> None:
    masked = mask(text)
    assert HIDDEN in masked
    assert not [secret for secret in (TOKEN, OPAQUE, SIGNATURE) if secret in masked], masked
    assert mask(masked) == masked


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask(text) == text


def test_texts_are_found_wherever_they_are_and_names_stay() -> None:
    assert mask_all({"password": [f"Bearer {OPAQUE}", 3, None]}) == {"password": [f"Bearer {HIDDEN}", 3, None]}


def test_no_error_of_ours_repeats_one() -> None:
    assert OPAQUE not in str(TargetError(f"found: Bearer {OPAQUE}"))
    told = {"Error": {"Code": "SignatureDoesNotMatch", "Message": SHOWN[2]}}
    with pytest.raises(TocsinError) as caught, aws_errors("asking who we are"):
        raise ClientError(told, "GetCallerIdentity")  # type: ignore[arg-type]
    assert OPAQUE not in str(caught.value)
    assert "SignatureDoesNotMatch" in str(caught.value)


def test_no_history_and_nobody_who_listens_to_it_has_one(tmp_path: Path) -> None:
    heard: list[Event] = []
    history = History(tmp_path / "history.jsonl")
    history.listen(heard.append, "test")
    quiet = AlarmsPolled(at=1.0, polls=1, states={"api-5xx": "OK"})
    loud = ActivityRan(at=2.0, act=Act.FAULT, name="call", ok=False, duration_s=0.1, detail=f"Bearer {OPAQUE}")
    history.record(quiet)
    history.record(loud)
    history.close()
    assert OPAQUE not in history.path.read_text()
    assert heard == read_history(history.path) == [quiet, loud.model_copy(update={"detail": f"Bearer {HIDDEN}"})]


def test_a_bug_of_ours_is_told_without_it(capsys: pytest.CaptureFixture[str]) -> None:
    @one_message
    def command() -> int:
        raise RuntimeError(f"Illegal header value b'Bearer {OPAQUE}'")

    with pytest.raises(SystemExit):
        command()
    told = capsys.readouterr().err
    assert "this is a bug in Tocsin" in told
    assert "RuntimeError" in told
    # The line of the source is shown too, and holds a name only.
    assert OPAQUE not in told
