"""Faults of third parties, seen where a caller sees them; stubs that lie about their door; targets without one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import yaml
from pydantic import ValidationError
from tests.sandbox.aws.fleet import CLUSTER
from tests.sandbox.aws.shop import Shop

from tocsin.aws.target import Target
from tocsin.errors import InvalidInput, Refused, TargetError
from tocsin.faults.base import AnyFault
from tocsin.faults.endpoint_overrides import EndpointOverride
from tocsin.faults.lifecycle import FaultLifecycle
from tocsin.faults.third_parties import ThirdParty
from tocsin.model.doors import TOKEN_HEADER
from tocsin.model.events import Event, FaultChanged, FaultStage
from tocsin.model.third_party import DOOR, MARK
from tocsin.model.third_party_cases import CASES
from tocsin.project.documents import load_system
from tocsin.record.ledger import Ledger
from tocsin.sandbox.parts.supervise import HeldPort

FUNCTION, SERVICE, VARIABLE = "shop-calendar", "shop-calendar", "GRAPH_BASE_URL"
OPTIONS = {"tenant": "shop", "client_id": "c", "client_secret": "not-a-secret"}
EVENTS = "/v1.0/users/u-1/events"
CALLER = """
import os
import urllib.error
import urllib.request


def handler(event, context):
    try:
        urllib.request.urlopen(os.environ["GRAPH_BASE_URL"] + "/users/u-1/events", timeout=event["patience_s"])
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__
"""


class Bench:
    """A system whose function calls a third party, and the life of faults on it."""

    def __init__(self, shop: Shop, directory: Path, target: Target) -> None:
        self.shop = shop
        self.directory = directory
        self.ledger = Ledger(directory / "ledger.sqlite", target.name)
        self.events: list[Event] = []
        self.lifecycle = FaultLifecycle(target=target, ledger=self.ledger, drill="d", record=self.events.append)
        self.describe(functions=[FUNCTION])

    @property
    def knock(self) -> dict[str, str]:
        """What opens the door."""
        return {TOKEN_HEADER: self.shop.account.target.door_token or ""}

    def describe(self, *, stub: str = "microsoft-graph", **callers: Any) -> None:
        """Write the system file: who calls the third party."""
        system = {
            "system": "shop",
            "title": "Shop",
            "endpoint": {"http_api": "shop"},
            "third_parties": {"graph": {"stub": stub, "env": VARIABLE, **callers}},
        }
        (self.directory / "systems").mkdir(exist_ok=True)
        (self.directory / "systems" / "shop.yaml").write_text(yaml.safe_dump(system))

    def lead_to(self, url: str) -> None:
        """Give the function a base URL."""
        self.shop.client("lambda").update_function_configuration(
            FunctionName=FUNCTION, Environment={"Variables": {VARIABLE: url, "API_KEY": "sk-not-written-anywhere"}}
        )
        self.shop.client("lambda").get_waiter("function_updated").wait(
            FunctionName=FUNCTION, WaiterConfig={"Delay": 0.05, "MaxAttempts": 1200}
        )

    def variables(self) -> dict[str, str]:
        answer = self.shop.client("lambda").get_function_configuration(FunctionName=FUNCTION)
        found: dict[str, str] = answer["Environment"]["Variables"]
        return found

    def called(self, patience_s: float = 30) -> Any:
        """What the function got from the third party: a status, or the name of an error."""
        return self.shop.invoke(FUNCTION, {"patience_s": patience_s})["Payload"]

    def stage(self) -> FaultStage:
        return [event.stage for event in self.events if isinstance(event, FaultChanged)][-1]


@pytest.fixture(scope="module")
def stub(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stub, and a function that calls it; the function's role has no say here."""
    directory = tmp_path_factory.mktemp("caller")
    (directory / "app.py").write_text(CALLER)
    code = shop.account.zip_directory(directory)
    shop.client("lambda").create_function(
        FunctionName=FUNCTION,
        Runtime="python3.11",
        Role="arn:aws:iam::123456789012:role/shop",
        Handler="app.handler",
        Code={"ZipFile": code},
        Timeout=60,
    )
    shop.settle(FUNCTION)
    yield shop.account.start_stub("microsoft-graph", OPTIONS)
    shop.client("lambda").delete_function(FunctionName=FUNCTION)


@pytest.fixture
def bench(shop: Shop, stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    bench = Bench(shop, tmp_path, shop.account.target)
    bench.lead_to(f"{stub}/v1.0")
    return bench


def third_party(**wrong: Any) -> ThirdParty:
    return ThirdParty.model_validate({"system": "shop", "name": "graph", **wrong})


def fails(url: str, patience_s: float = 60) -> str:
    """What a caller gets. Only where no answer is to come is little patience the same on a machine that is busy."""
    try:
        answer = httpx.get(f"{url}{EVENTS}", timeout=httpx.Timeout(60, read=patience_s))
        answer.json()
    except (httpx.TransportError, json.JSONDecodeError) as error:
        return type(error).__name__
    return str(answer.status_code) + " by the door" * (MARK in answer.headers)


@pytest.mark.parametrize(
    ("wrong", "got"),
    [
        ({"status": 503}, "503 by the door"),
        ({"status": 503, "path": "/v1.0/*/events"}, "503 by the door"),
        ({"status": 401, "path": EVENTS}, "401 by the door"),
        ({"status": 429, "headers": {"Retry-After": "5"}}, "429 by the door"),
        ({"body": '{"value": null}'}, "200 by the door"),
        ({"delay_s": 2}, "401 by the door"),
        ({"delay_s": 30}, "ReadTimeout"),
        ({"mode": "malformed"}, "JSONDecodeError"),
        ({"mode": "cut"}, "RemoteProtocolError"),
        ({"mode": "stream", "delay_s": 0.2}, "401 by the door"),
        ({"mode": "stream", "delay_s": 6}, "ReadTimeout"),
        ({"mode": "drop"}, "RemoteProtocolError"),
        ({"mode": "hang"}, "ReadTimeout"),
    ],
    ids=str,
)
def test_a_fault_is_felt_by_a_caller_seen_undone_and_verified(
    bench: Bench, stub: str, wrong: dict[str, Any], got: str
) -> None:
    assert fails(stub) == "401"
    assert bench.lifecycle.inject(third_party(**wrong)) is FaultStage.EFFECTIVE
    assert fails(stub, 0.5 if got == "ReadTimeout" else 60) == got
    assert bench.lifecycle.undo_all() == []
    assert bench.stage() is FaultStage.VERIFIED
    assert fails(stub) == "401"
    assert httpx.get(f"{stub}{DOOR}", headers=bench.knock).json()["fault"] is None
    assert bench.ledger.entries(only_open=True) == []


def test_a_fault_is_felt_by_the_function_that_calls(bench: Bench) -> None:
    assert bench.called() == 401
    assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.EFFECTIVE
    assert bench.called() == 503
    assert bench.lifecycle.undo_all() == []
    assert bench.called() == 401


def test_a_fault_of_some_requests_is_seen_all_the_same(bench: Bench, stub: str) -> None:
    for _ in range(3):
        assert bench.lifecycle.inject(third_party(status=503, percent=5)) is FaultStage.EFFECTIVE
        assert bench.lifecycle.undo_all() == []
    assert fails(stub) == "401"


def test_looking_leaves_no_call_in_the_stubs_record(bench: Bench, stub: str) -> None:
    before = httpx.get(f"{stub}/_tocsin/calls", headers=bench.knock).json()
    assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.EFFECTIVE
    assert bench.lifecycle.undo_all() == []
    assert httpx.get(f"{stub}/_tocsin/calls", headers=bench.knock).json() == before


def test_undone_twice_and_by_another_process_that_knows_no_system_file(bench: Bench, stub: str) -> None:
    bench.lifecycle.inject(third_party(mode="drop"))
    (bench.directory / "systems" / "shop.yaml").unlink()
    entries = bench.ledger.entries()
    other = FaultLifecycle(target=bench.shop.account.target, ledger=bench.ledger, drill="other")
    assert other.undo_all(entries) == []
    assert other.undo_all(entries) == []
    assert fails(stub) == "401"


def test_the_same_twice_has_no_effect_and_stays_until_the_first_is_undone(bench: Bench, stub: str) -> None:
    assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.EFFECTIVE
    assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.NO_EFFECT
    assert bench.lifecycle.undo_all() == []
    assert fails(stub) == "401"


# --- by name ------------------------------------------------------------------------------------------------

KEYS = {
    "microsoft-graph": OPTIONS,
    "openai": {"api_key": "not-a-secret"},
    "openweathermap": {"api_key": "not-a-secret"},
}


@pytest.fixture(scope="module")
def parties(shop: Shop) -> Mapping[str, str]:
    """Kind of a stub -> where one listens."""
    return {kind: shop.account.start_stub(kind, options) for kind, options in KEYS.items()}


@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind in KEYS for case in CASES[kind]])
def test_a_case_is_felt_by_a_caller_seen_undone_and_verified(
    bench: Bench, parties: Mapping[str, str], kind: str, case: str
) -> None:
    bench.describe(stub=kind, functions=[FUNCTION])
    bench.lead_to(parties[kind])
    called = CASES[kind][case]
    url = f"{parties[kind]}{called.example}"
    before = httpx.get(url)
    assert bench.lifecycle.inject(third_party(case=case)) is FaultStage.EFFECTIVE
    felt = httpx.get(url)
    assert (felt.status_code, felt.text) == (called.status or 200, called.body)
    assert MARK in felt.headers
    assert bench.lifecycle.undo_all() == []
    assert bench.stage() is FaultStage.VERIFIED
    after = httpx.get(url)
    assert (after.status_code, MARK in after.headers) == (before.status_code, False)
    assert bench.ledger.entries(only_open=True) == []


def test_a_case_is_undone_by_another_process_that_knows_no_system_file(
    bench: Bench, parties: Mapping[str, str]
) -> None:
    bench.describe(stub="openai", functions=[FUNCTION])
    bench.lead_to(parties["openai"])
    bench.lifecycle.inject(third_party(case="insufficient_quota", percent=50))
    (bench.directory / "systems" / "shop.yaml").unlink()
    entries = bench.ledger.entries()
    other = FaultLifecycle(target=bench.shop.account.target, ledger=bench.ledger, drill="other")
    assert other.undo_all(entries) == []
    assert other.undo_all(entries) == []
    assert httpx.get(f"{parties['openai']}{DOOR}", headers=bench.knock).json()["fault"] is None


def test_a_case_that_this_third_party_does_not_have(bench: Bench) -> None:
    fault = third_party(case="htm")
    system = load_system(bench.directory, "shop")
    assert fault.unknown_in(system) == "expected a case of the stub microsoft-graph, found 'htm'. Did you mean 'html'?"
    with pytest.raises(InvalidInput, match="expected a case of the stub"):
        bench.lifecycle.inject(fault)
    assert bench.ledger.entries() == []


def test_one_fault_at_a_time(bench: Bench, stub: str) -> None:
    bench.lifecycle.inject(third_party(status=503))
    with pytest.raises(TargetError, match=r'to be closed, found \{"status":503\}'):
        bench.lifecycle.inject(third_party(mode="drop"))
    assert bench.lifecycle.undo_all() == []
    assert len(bench.ledger.entries()) == 1


def test_a_door_that_somebody_else_told_otherwise_is_left_as_it_is(bench: Bench, stub: str) -> None:
    bench.lifecycle.inject(third_party(status=503))
    httpx.put(f"{stub}{DOOR}", json={"status": 418}, headers=bench.knock)
    assert len(bench.lifecycle.undo_all()) == 1
    assert bench.stage() is FaultStage.DRIFTED
    assert fails(stub) == "418 by the door"
    httpx.delete(f"{stub}{DOOR}", headers=bench.knock)


def test_without_the_token_no_fault_is_begun(bench: Bench, stub: str) -> None:
    stranger = replace(bench.shop.account.target, door_token="another")
    lifecycle = FaultLifecycle(target=stranger, ledger=bench.ledger, drill="other")
    with pytest.raises(TargetError, match="to open to this target"):
        lifecycle.inject(third_party(status=503))
    assert bench.ledger.entries() == []
    assert fails(stub) == "401"


def test_the_callers_are_what_must_have_opted_in(bench: Bench, cluster: Shop, stub: str) -> None:
    """Those of ECS too, whose task definition is read."""
    ecs = cluster.client("ecs")
    sidecar = {"name": "sidecar", "image": "sidecar:1"}
    main = {"name": "main", "image": "main:1", "environment": [{"name": VARIABLE, "value": f"{stub}/v1.0"}]}
    ecs.register_task_definition(family=SERVICE, containerDefinitions=[sidecar, main])
    ecs.create_service(cluster=CLUSTER, serviceName=SERVICE, taskDefinition=SERVICE, desiredCount=0)
    bench.describe(functions=[FUNCTION], services=[f"{CLUSTER}/{SERVICE}"])
    asked: list[tuple[str, ...]] = []
    bench.lifecycle.permit = lambda change, aws: asked.append(change.arns(aws))
    try:
        assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.EFFECTIVE
        assert bench.lifecycle.undo_all() == []
        bench.lead_to("http://127.0.0.1:9")
        with pytest.raises(TargetError, match="to lead to one place, found"):
            bench.lifecycle.inject(third_party(status=503))
    finally:
        ecs.delete_service(cluster=CLUSTER, service=SERVICE, force=True)
    assert asked == [
        (
            f"arn:aws:lambda:us-east-1:123456789012:function:{FUNCTION}",
            f"arn:aws:ecs:us-east-1:123456789012:service/{CLUSTER}/{SERVICE}",
        )
    ]


def test_a_third_party_that_the_system_file_does_not_have(bench: Bench) -> None:
    with pytest.raises(
        InvalidInput, match=r"expected a third party of systems/shop\.yaml, found 'grap'\. Did you mean"
    ):
        bench.lifecycle.inject(ThirdParty(system="shop", name="grap", status=503))


# --- stubs that lie -----------------------------------------------------------------------------------------


class Lying(BaseHTTPRequestHandler):
    """A stub that says of its door what it is told, and does what it likes."""

    told: ClassVar[Any] = None
    does: ClassVar[Callable[[Any], Any]]
    keeps: ClassVar[bool] = False

    def do_GET(self) -> None:
        if self.path == DOOR:
            self._answer(200, {"stub": "lying", "fault": type(self).told})
        else:
            fault = type(self).does(type(self).told)
            self._answer(fault["status"] if fault else 200, {}, {MARK: "answer"} if fault else {})

    def do_PUT(self) -> None:
        type(self).told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(204)

    def do_DELETE(self) -> None:
        if not type(self).keeps:
            type(self).told = None
        self._answer(204)

    def _answer(self, status: int, document: Any = None, headers: dict[str, str] | None = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def lying(bench: Bench) -> Iterator[type[Lying]]:
    """A stub of one test, to which the function is led; its `does` says what it really does when told something."""

    class Handler(Lying):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    bench.lead_to(f"http://127.0.0.1:{server.server_port}")
    yield Handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_stub_that_does_as_it_is_told_is_believed(bench: Bench, lying: type[Lying]) -> None:
    """Without this the tests below would prove nothing."""
    lying.does = lambda told: told
    assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.EFFECTIVE
    assert bench.lifecycle.undo_all() == []


def test_a_stub_that_says_broken_and_answers_well_shows_no_effect(bench: Bench, lying: type[Lying]) -> None:
    lying.does = lambda told: None
    assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.NO_EFFECT
    assert lying.told == {"status": 503}
    assert bench.lifecycle.undo_all() == []


def test_a_stub_that_breaks_in_another_way_shows_no_effect(bench: Bench, lying: type[Lying]) -> None:
    lying.does = lambda told: told and {"status": 500}
    assert bench.lifecycle.inject(third_party(status=503)) is FaultStage.NO_EFFECT
    assert bench.lifecycle.undo_all() == []


class Impatient(ThirdParty):
    """Does not wait long for what will not come."""

    effect_within_s: ClassVar[float] = 1.0


def test_a_stub_that_answers_with_the_status_of_a_case_alone_shows_no_effect(bench: Bench, lying: type[Lying]) -> None:
    """Who has no quota left and who asks too often get the same status: only the body tells them apart."""
    bench.describe(stub="openai", functions=[FUNCTION])
    bench.lifecycle.registry = {"third_party": Impatient}
    lying.does = lambda told: told and {"status": 429}
    fault = Impatient.model_validate({"system": "shop", "name": "graph", "case": "insufficient_quota"})
    assert bench.lifecycle.inject(fault) is FaultStage.NO_EFFECT
    assert lying.told["status"] == 429
    assert bench.lifecycle.undo_all() == []


def test_an_undo_that_leaves_the_door_open_is_residue(bench: Bench, lying: type[Lying]) -> None:
    bench.lifecycle.registry = {"third_party": Impatient}
    lying.does = lambda told: told
    lying.keeps = True
    bench.lifecycle.inject(third_party(status=503))
    assert len(bench.lifecycle.undo_all()) == 1
    assert bench.stage() is FaultStage.UNDO_FAILED
    assert "fault is '{\"status\":503}', not None" in bench.ledger.entries(only_open=True)[0].detail


def test_a_door_that_says_closed_and_goes_on_breaking_is_residue(bench: Bench, lying: type[Lying]) -> None:
    bench.lifecycle.registry = {"third_party": Impatient}
    lying.does = lambda told: told
    bench.lifecycle.inject(third_party(status=503))
    lying.does = lambda told: {"status": 503}
    assert len(bench.lifecycle.undo_all()) == 1
    assert bench.stage() is FaultStage.UNDO_FAILED
    assert bench.ledger.entries(only_open=True)[0].detail.endswith("answers is 'wrong', not 'usual'")


def test_a_stub_that_is_wrong_already_cannot_show_an_effect(bench: Bench, lying: type[Lying]) -> None:
    lying.does = lambda told: {"status": 503}
    with pytest.raises(TargetError, match="no effect could be told from that"):
        bench.lifecycle.inject(third_party(status=503))
    assert bench.ledger.entries() == []


# --- where there is no stub ---------------------------------------------------------------------------------


class Provider:
    """Somebody who must not hear of us: counts the connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def heard(self) -> bool:
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()


def refused(bench: Bench, fault: AnyFault) -> Refused:
    with pytest.raises(Refused) as caught:
        bench.lifecycle.inject(fault)
    assert bench.lifecycle.refusal is caught.value
    assert bench.ledger.entries() == []
    return caught.value


@pytest.mark.parametrize(
    "url", ["https://{}/v1", "http://user:sk-secret@{}.example.invalid/v1", "http://0.0.0.0:9/{}", "ftp://{}"]
)
def test_a_third_party_elsewhere_is_refused_and_hears_nothing(bench: Bench, provider: Provider, url: str) -> None:
    bench.lead_to(url.format(provider.address.replace(":", "-") if "invalid" in url else provider.address))
    refusal = refused(bench, third_party(status=503))
    assert refusal.guard == "third-party"
    assert "Use endpoint_override: it points the base URL of a function at a fault server" in str(refusal)
    assert "sk-secret" not in str(refusal)
    assert not provider.heard()


def test_on_a_real_account_nobody_is_asked_also_not_on_this_machine(bench: Bench, provider: Provider) -> None:
    """The URL leads to loopback: that of a Lambda function, not ours."""
    bench.lead_to(f"http://{provider.address}")
    bench.lifecycle.target = Target(name="production", region="us-east-1", account="123456789012")
    assert "the real one, which was not asked: 'production' is no sandbox" in str(
        refused(bench, third_party(status=503))
    )
    assert not provider.heard()


def test_who_listens_on_this_machine_and_is_no_stub(bench: Bench) -> None:
    bench.lead_to(bench.shop.account.endpoint_url)
    assert "found something else at http://127.0.0.1" in str(refused(bench, third_party(status=503)))


def test_a_stub_that_is_gone_is_no_reason_to_write_an_entry(bench: Bench) -> None:
    nobody = HeldPort()
    bench.lead_to(f"http://127.0.0.1:{nobody.port}")
    with pytest.raises(TargetError, match="Connection refused"):
        bench.lifecycle.inject(third_party(status=503))
    nobody.release()
    assert bench.ledger.entries() == []


# --- the way where there is no door -------------------------------------------------------------------------


def override(**arguments: Any) -> EndpointOverride:
    return EndpointOverride.model_validate({"function": FUNCTION, "variable": VARIABLE, **arguments})


def test_a_base_url_is_pointed_at_a_fault_server_and_back(bench: Bench, provider: Provider) -> None:
    before = bench.variables()
    assert bench.called() == 401
    fault = override(url=f"http://{provider.address}/v1")
    assert bench.lifecycle.inject(fault) is FaultStage.EFFECTIVE
    assert bench.variables() == {**before, VARIABLE: fault.url}
    assert bench.called(patience_s=0.5) == "TimeoutError"
    assert provider.heard()
    assert b"sk-not-written-anywhere" not in bench.ledger.path.read_bytes()
    assert bench.lifecycle.undo_all() == []
    assert bench.variables() == before
    assert bench.called() == 401
    assert not provider.heard()


def test_a_variable_that_was_not_there_is_gone_again(bench: Bench) -> None:
    before = bench.variables()
    fault = override(variable="AWS_ENDPOINT_URL_TEXTRACT", url="http://127.0.0.1:9")
    assert bench.lifecycle.inject(fault) is FaultStage.EFFECTIVE
    assert bench.variables() == {**before, "AWS_ENDPOINT_URL_TEXTRACT": "http://127.0.0.1:9"}
    assert bench.lifecycle.undo_all() == []
    assert bench.variables() == before


def test_a_url_that_was_there_already_has_no_effect(bench: Bench) -> None:
    bench.lead_to("http://127.0.0.1:9")
    assert bench.lifecycle.inject(override(url="http://127.0.0.1:9")) is FaultStage.NO_EFFECT
    assert bench.lifecycle.undo_all() == []
    assert bench.variables()[VARIABLE] == "http://127.0.0.1:9"


def test_a_base_url_that_somebody_changed_meanwhile_is_left_as_it_is(bench: Bench) -> None:
    bench.lifecycle.inject(override(url="http://127.0.0.1:9"))
    bench.lead_to("http://127.0.0.1:10")
    assert len(bench.lifecycle.undo_all()) == 1
    assert bench.stage() is FaultStage.DRIFTED
    assert bench.variables()[VARIABLE] == "http://127.0.0.1:10"


def test_credentials_are_sent_to_no_plain_http_from_a_real_account(bench: Bench) -> None:
    bench.lifecycle.target = Target(name="production", region="us-east-1", account="123456789012")
    refusal = refused(bench, override(url="http://faults.example.com"))
    assert "expected an https URL on a real account, found http://faults.example.com" in str(refusal)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://faults.example.com",
        "faults.example.com",
        "https://",
        "https://me:secret@faults.example.com",
        "https://a/?k=v",
    ],
)
def test_only_a_base_url_is_taken(url: str) -> None:
    with pytest.raises(ValidationError, match="expected a URL"):
        override(url=url)
