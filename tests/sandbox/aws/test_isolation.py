"""A sandbox keeps to itself: its own machine, its own checkout."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
from tests.sandbox.aws.shop import Shop

from tocsin.sandbox import control
from tocsin.sandbox.parts import supervise


def checkout(root: Path, deploy: str = "def deploy(account):\n    pass\n") -> Path:
    (root / "replicas" / "plain").mkdir(parents=True)
    (root / "replicas" / "plain" / "deploy.py").write_text(deploy)
    return root


def test_nothing_listens_beyond_this_machine(shop: Shop) -> None:
    shop.get("/")
    found = supervise.processes(control.directory(shop.root))
    assert len(found) >= 3
    listening = list[str]()
    for process in found:
        with suppress(psutil.NoSuchProcess):  # an idle environment of a function has ended meanwhile
            listening += [
                connection.laddr.ip
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
            process.wait(60)
        finally:
            process.kill()
    home = control.directory(root)
    assert supervise.processes(home) == []
    assert not home.exists()
