"""A sandbox keeps to itself: its own machine, its own checkout, its own user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from tests.sandbox.aws.shop import Shop

from tocsin.sandbox import control, supervise

ORDINARY_USER = "nobody"
LIFE = """
from pathlib import Path
from tocsin.sandbox import control

root = Path({root!r})
state = control.up("shop", root)
message = state.account.client("lambda").invoke(FunctionName="shop-api", Payload='{{"say": "hello"}}')
state.account.client("rds").create_db_instance(
    DBInstanceIdentifier="shop-db", DBInstanceClass="db.t3.micro", Engine="postgres", MasterUsername="owner",
    MasterUserPassword="not-a-secret", AllocatedStorage=20,
)
print(message["Payload"].read().decode(), *state.account.database("shop-db"))
print(control.down(root).was_running, control.directory(root).exists())
"""


def checkout(root: Path, deploy: str = "def deploy(account):\n    pass\n") -> Path:
    (root / "replicas" / "plain").mkdir(parents=True)
    (root / "replicas" / "plain" / "deploy.py").write_text(deploy)
    return root


def test_nothing_listens_beyond_this_machine(shop: Shop) -> None:
    shop.get("/")
    found = supervise.processes(control.directory(shop.root))
    assert len(found) >= 3
    listening = [
        connection.laddr.ip
        for process in found
        for connection in process.net_connections("inet")
        if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    ]
    assert set(listening) == {"127.0.0.1"}


def test_two_checkouts_have_a_sandbox_each(shop: Shop, tmp_path: Path) -> None:
    other = control.up("plain", checkout(tmp_path))
    try:
        assert other.endpoint_url != shop.account.endpoint_url
        assert other.account.client("sqs").list_queues().get("QueueUrls", []) == []
    finally:
        control.down(tmp_path)
    state = control.status(shop.root)
    assert state is not None
    assert state.systems == ("shop",)
    assert shop.get("/").status_code == 200


def test_an_up_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    root = checkout(tmp_path, "import time\ndef deploy(account):\n    print('up', flush=True)\n    time.sleep(600)\n")
    # A test run that was started in the background inherits an ignored SIGINT; a person at a terminal does not.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from pathlib import Path\nfrom tocsin.sandbox import control\ncontrol.up('plain', Path({str(root)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            process.send_signal(signal.SIGINT)
            process.wait(20)
        finally:
            process.kill()
    home = control.directory(root)
    assert supervise.processes(home) == []
    assert not home.exists()


def test_an_ordinary_user_can_have_one(shop: Shop) -> None:
    if os.geteuid() != 0:
        pytest.skip("every other test here already ran as an ordinary user")
    user = pwd.getpwnam(ORDINARY_USER)
    # A Python in root's home may be read, and nothing else of root's rights is left.
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    become += ["--bounding-set=-all,+dac_read_search", "--inh-caps=-all,+dac_read_search"]
    become += ["--ambient-caps=-all,+dac_read_search", sys.executable, "-c"]
    if subprocess.run(["which", "setpriv"], capture_output=True, check=False).returncode:
        pytest.skip("setpriv is not there")
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    # Not a directory of pytest's: those are closed to other users.
    home = Path(tempfile.mkdtemp(prefix="tocsin-test-", dir="/tmp"))
    try:
        shutil.copytree(shop.root / "replicas", home / "replicas")
        subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", home], check=True)
        done = subprocess.run(
            [*become, LIFE.format(root=str(home))],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        invoked, down = done.stdout.splitlines()
        assert '"say": "hello"' in invoked
        assert "127.0.0.1" in invoked
        assert down == "True False"
    finally:
        control.down(home)
        shutil.rmtree(home)
