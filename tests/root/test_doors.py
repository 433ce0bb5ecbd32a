"""What another user of this machine can do to a sandbox of root's: reach its ports, and nothing behind them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.root.place import NAMELESS, ROOT_ONLY, Place, become, place

from tocsin.sandbox import control

pytestmark = ROOT_ONLY

STRANGER = """
import json, pathlib, sys, urllib.error, urllib.request
url, processes = sys.argv[1], json.loads(sys.argv[2])

def read(path):
    try:
        return pathlib.Path(path).read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return type(error).__name__

def ask(method, path, headers, body=None):
    asked = urllib.request.Request(url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

print(json.dumps({
    "environments": [read(f"/proc/{pid}/environ") for pid in processes],
    "commands": [read(f"/proc/{pid}/cmdline") for pid in processes],
    "answers": [
        ask("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListUsers&Version=2010-05-08"),
        ask("POST", "/", {"X-Amz-Target": "AmazonSQS.ListQueues"}, b"{}"),
        ask("GET", "/2015-03-31/functions/", {}),
        ask("POST", "/_ministack/reset", {}),
        ask("POST", "/_tocsin/status", {"x-tocsin-token": "0" * 64}, b"{}"),
    ],
}))
"""
SIGNED = """
import boto3, sys
from botocore.exceptions import ClientError
for key, secret in (("123456789012", "sandbox"), ("test", "test"), ("123456789012", "123456789012")):
    sqs = boto3.client("sqs", endpoint_url=sys.argv[1], region_name="us-east-1", aws_access_key_id=key,
                       aws_secret_access_key=secret)
    try:
        sqs.delete_queue(QueueUrl=sys.argv[2])
    except ClientError as error:
        print(error.response["Error"]["Code"])
"""


@pytest.fixture
def here() -> Iterator[Place]:
    with place() as ready:
        yield ready


def readable_by_a_stranger(path: Path) -> bool:
    """Whether a user without any rights can read a file."""
    rights = [f"--{kind}=-all" for kind in ("bounding-set", "inh-caps", "ambient-caps")]
    command = ["setpriv", f"--reuid={NAMELESS.uid}", f"--regid={NAMELESS.uid}", "--clear-groups", *rights]
    return subprocess.run([*command, "cat", str(path)], capture_output=True, check=False).returncode == 0


def as_stranger(code: str, *arguments: str) -> str:
    """What a user without any of root's rights finds out; the interpreter may lie where only root reads."""
    command = [*become(NAMELESS), sys.executable, "-c", code, *arguments]
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment).stdout


def test_another_user_reads_no_key_and_drives_no_sandbox(here: Place) -> None:
    up = here.tocsin("sandbox", "up", "plain")
    assert up.returncode == 0, up.stderr
    state = control.status(here.root)
    assert state is not None
    secrets = state.root.secret_access_key, state.token
    assert not any(secret in up.stdout + up.stderr for secret in secrets)
    queues = state.account.client("sqs").list_queues()["QueueUrls"]
    home = control.directory(here.root)
    holding = [path for path in home.rglob("*") if path.is_file() and secrets[0].encode() in path.read_bytes()]
    assert set(holding) == {home / "state.json", home / "credentials"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    for path in (*holding, home / "daemon.log"):
        assert not readable_by_a_stranger(path)
    assert readable_by_a_stranger(here.root / "nothing.yaml")
    family = [state.pid, *(one.pid for one in psutil.Process(state.pid).children(recursive=True))]

    found = json.loads(as_stranger(STRANGER, state.endpoint_url, json.dumps(family)))
    assert found["answers"] == [403, 403, 403, 403, 403], found
    assert set(found["environments"]) == {"PermissionError"}
    assert not any(secret in text for text in found["commands"] for secret in secrets)
    codes = as_stranger(SIGNED, state.endpoint_url, queues[0]).split()
    assert codes == ["SignatureDoesNotMatch", "InvalidClientTokenId", "SignatureDoesNotMatch"]
    assert state.account.client("sqs").list_queues()["QueueUrls"] == queues
