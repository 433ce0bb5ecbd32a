# ruff: noqa: SLF001 - touching the internals of ministack is what this file is for
"""Amazon SES, v2 and v1: ministack keeps identities and configuration sets; what is sent is decided and counted here.

Mail is never relayed: it ends in an outbox, which a door shows. Both APIs have one switch for an account's sending in a
region, one set of identities, and one outbox.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutAccountSendingAttributes.html
https://docs.aws.amazon.com/ses/latest/APIReference/API_UpdateAccountSendingEnabled.html
"""

from __future__ import annotations

import contextvars
import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from email.utils import parseaddr
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from tocsin.alarms.cloudwatch import metric_key
from tocsin.sandbox.metrics import Scope
from tocsin.sandbox.service import Asked, Door, ReliedOn
from tocsin.sandbox.services.iam.principals import service_may
from tocsin.sandbox.services.ses.mails import Mail, MailError, Refusal, asked_by_v1, asked_by_v2
from tocsin.sandbox.services.ses.outbox import Outbox, Sent, count_events
from tocsin.sandbox.world import World

Answer = tuple[int, Mapping[str, str], bytes]
"""Of a handler of ministack: status, headers, body."""

_PRINCIPAL = "ses.amazonaws.com"
_V2 = "/v2/email"
_SEND = f"{_V2}/outbound-emails"
_BUCKET_S = 900.0
_PAUSED = "Sending paused for this account. For more information, please check the inbox of the email address "
_PAUSED += "associated with your AWS account."
_logger = logging.getLogger("tocsin.sandbox")

_REFUSED_V2: Mapping[tuple[str, str], str] = {
    ("POST", "/outbound-bulk-emails"): "SendBulkEmail: the sandbox renders no templates, it has SendEmail",
    ("PUT", "/account/suppression"): "PutAccountSuppressionAttributes: the sandbox keeps no suppression list",
}
_REFUSED_V1: Mapping[str, str] = {
    name: f"{name}: the sandbox renders no templates, it has SendEmail and SendRawEmail"
    for name in ("SendTemplatedEmail", "SendBulkTemplatedEmail")
}


class Ses:
    """The mail of one sandbox."""

    RELIED_ON: ClassVar[ReliedOn] = {
        "core.iam_actions": {
            "_match_rest_action": "service, method, path, query_params",
            "_param": "body, query_params, fields",
            "_SES_V2_LEGACY_LIST_ROUTES": "",
        },
        "core.iam_evaluator": {
            "EvalContext": "principal_arn, principal_type, principal_account, action, resource_arn, region, source_ip, "
            "secure_transport, request_tags, tag_keys, service_context, principal_keys",
            "evaluate_resource_policy": "doc, ctx, service, named_only, direct_only",
        },
        "services.ses": {
            "handle_request": "method, path, headers, body, query_params",
            "_aggregate_15min_buckets": "",
            "_configuration_sets": "",
            "_error": "code, message, status, error_type, fields",
            "_identities": "",
            "_make_identity": "identity, identity_type",
            "_message_rejection": "sender, recipients",
            "_notification_identity": "source",
            "_p": "params, key, default",
            "_publish_notification": "topic_arn, payload",
            "_send_notifications": "msg_id, source, recipients",
            "_sent_emails_list": "",
            "_set_identity_notification_topic": "params",
            "_smtp_relay": "source, to_addrs, message_str",
            "_xml": "status, root_tag, inner",
        },
        "services.ses_v2": {
            "handle_request": "method, path, headers, body, query_params",
            "_config_sets": "",
            "_json_err": "code, message, status",
            "_smtp_relay": "source, to_addrs, message_str",
        },
        "services.sns": {
            "_topic_by_arn_any_scope": "topic_arn",
            "publish_internal": "topic_arn, message, subject, message_structure, message_attributes, message_group_id, "
            "message_deduplication_id",
        },
    }
    signed_for = "ses"

    def adapt(self, world: World) -> None:
        """Answer what sends and switches; no mail leaves this machine, whatever `SMTP_HOST` says."""
        module, replace = world.ministack.module, world.ministack.replace
        self._world, self._ministack = world, world.ministack
        self._actions = module("core.iam_actions")
        self._evaluator = module("core.iam_evaluator")
        self._sns = module("services.sns")
        self._v1, self._v2 = module("services.ses"), module("services.ses_v2")
        self._outbox = Outbox()
        self._paused: set[Scope] = set()
        for one in (self._v1, self._v2):
            replace(one, "_smtp_relay", _relay_nothing)
        self._their_v1 = replace(self._v1, "handle_request", self._answer_v1)
        self._their_v2 = replace(self._v2, "handle_request", self._answer_v2)
        self._their_topic = replace(self._v1, "_set_identity_notification_topic", self._set_topic)
        replace(self._v1, "_publish_notification", self._notify)
        replace(self._v1, "_aggregate_15min_buckets", self._statistics)

    def doors(self) -> Mapping[str, Door]:
        """`mails`: what was accepted."""
        return {"mails": self._mails}

    async def _mails(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of an `account` and `region`, by default the sandbox's, from `since` on (wall-clock epoch seconds)."""
        scope = str(request.get("account") or self._world.account), str(request.get("region") or self._world.region)
        return {"mails": [one.json for one in self._outbox.mails(scope, float(request.get("since") or 0.0))]}

    # ------------------------------------------------------------------------------------------ IAM

    def iam_action(self, asked: Asked) -> str | None:
        """Raw content is allowed by `ses:SendRawEmail`, in v2 too, where the operation is SendEmail.

        https://docs.aws.amazon.com/ses/latest/dg/control-user-access.html
        """
        if not asked.path.startswith(_V2):
            action = self._actions._param(asked.body, asked.query, "Action")
            return f"ses:{action}" if action else None
        path = asked.path.rstrip("/")
        if (asked.method, path) == ("POST", _SEND):
            return "ses:SendRawEmail" if (_json(asked.body).get("Content") or {}).get("Raw") else "ses:SendEmail"
        operation = self._actions._match_rest_action("ses", asked.method, asked.path, asked.query)
        if operation is None and asked.method == "GET":
            operation = self._actions._SES_V2_LEGACY_LIST_ROUTES.get(path)
        return f"ses:{operation}" if operation else None

    def iam_resource(self, asked: Asked) -> str | None:
        """Of what sends: the identity of the sender, the address itself where it is one, otherwise its domain."""
        if (asked.method, asked.path.rstrip("/")) == ("POST", _SEND):
            read: Callable[[], Mail] = lambda: asked_by_v2(_json(asked.body))  # noqa: E731
        elif self._actions._param(asked.body, asked.query, "Action") in ("SendEmail", "SendRawEmail"):
            read = lambda: asked_by_v1(_form(asked.body))  # noqa: E731
        else:
            return None
        try:
            address = parseaddr(read().source)[1]
        except MailError:
            return None
        account, region = asked.scope
        with self._ministack.scope(asked.scope):
            found = self._v1._notification_identity(address)
        identity = found[0] if found else address
        return f"arn:aws:ses:{region}:{account}:identity/{identity}"

    # ------------------------------------------------------------------------------------------ v2

    async def _answer_v2(self, method: str, path: str, headers: Any, body: bytes, query_params: Any) -> Answer:
        """https://docs.aws.amazon.com/ses/latest/APIReference-V2/Welcome.html"""
        sub, request = path.rstrip("/").removeprefix(_V2), _json(body)
        refused = _REFUSED_V2.get((method, sub))
        if "/event-destinations" in sub and method in ("POST", "PUT"):
            refused = "EventDestination: the sandbox publishes AWS/SES and notifies the topics of identities"
        if refused is not None:
            return self._refuse_v2(MailError(Refusal.INVALID, f"{refused}."))
        if (method, sub) == ("POST", "/outbound-emails"):
            try:
                return _said({"MessageId": self._send(asked_by_v2(request), self._set_of_v2)})
            except MailError as error:
                return self._refuse_v2(error)
        if (method, sub) == ("PUT", "/account/sending"):
            return self._switch_v2(request.get("SendingEnabled"))
        answer: Answer = await self._their_v2(method, path, headers, body, query_params)
        if (method, sub) == ("GET", "/account"):
            return _said({**_json(answer[2]), "SendingEnabled": self._enabled()})
        if answer[0] == 200 and sub.startswith("/identities"):
            self._mirror(method, sub, request)
        return answer

    def _refuse_v2(self, error: MailError) -> Answer:
        code, status, _ = error.refusal.value
        refusal: Answer = self._v2._json_err(code, str(error), status)
        return refusal

    def _switch_v2(self, enabled: Any) -> Answer:
        if not isinstance(enabled, bool):
            return self._refuse_v2(MailError(Refusal.INVALID, "SendingEnabled must be true or false."))
        self._switch(enabled)
        return _said({})

    def _set_of_v2(self, name: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._v2._config_sets.get(name)
        return found

    def _mirror(self, method: str, sub: str, request: Mapping[str, Any]) -> None:
        """An identity is one for both APIs: v1 sets its topics, and sends from it."""
        identity = sub.removeprefix("/identities").removeprefix("/")
        if method == "DELETE" and identity:
            self._v1._identities.pop(identity, None)
        elif method == "POST" and (made := request.get("EmailIdentity")) and made not in self._v1._identities:
            kind = "EmailAddress" if "@" in made else "Domain"
            self._v1._identities[made] = self._v1._make_identity(made, kind)

    # ------------------------------------------------------------------------------------------ v1

    async def _answer_v1(self, method: str, path: str, headers: Any, body: bytes, query_params: Any) -> Answer:
        """https://docs.aws.amazon.com/ses/latest/APIReference/Welcome.html"""
        request = {name: str(_first(value)) for name, value in query_params.items()} | _form(body)
        action = "" if path.startswith("/v2/") else request.get("Action", "")
        if action in _REFUSED_V1:
            return self._refuse_v1(MailError(Refusal.INVALID, f"{_REFUSED_V1[action]}."))
        if action in ("SendEmail", "SendRawEmail"):
            try:
                message_id = self._send(asked_by_v1(request), self._set_of_v1)
            except MailError as error:
                return self._refuse_v1(error)
            return self._said_v1(action, f"<MessageId>{message_id}</MessageId>")
        if action == "UpdateAccountSendingEnabled":
            self._switch(request.get("Enabled", "false") == "true")
            answer: Answer = self._v1._xml(200, f"{action}Response", "")
            return answer
        if action == "GetAccountSendingEnabled":
            return self._said_v1(action, f"<Enabled>{str(self._enabled()).lower()}</Enabled>")
        answer = await self._their_v1(method, path, headers, body, query_params)
        if action == "DeleteIdentity" and answer[0] == 200:
            self._v2._identities.pop(request.get("Identity", ""), None)
        return answer

    def _said_v1(self, action: str, inner: str) -> Answer:
        answer: Answer = self._v1._xml(200, f"{action}Response", f"<{action}Result>{inner}</{action}Result>")
        return answer

    def _refuse_v1(self, error: MailError) -> Answer:
        refusal: Answer = self._v1._error(error.refusal.value[2], str(error), 400, "Sender")
        return refusal

    def _set_of_v1(self, name: str) -> Mapping[str, Any] | None:
        return {} if name in self._v1._configuration_sets else self._set_of_v2(name)

    # ------------------------------------------------------------------------------------------ sending

    def _enabled(self) -> bool:
        return self._ministack.current_scope() not in self._paused

    def _switch(self, enabled: bool) -> None:
        (self._paused.discard if enabled else self._paused.add)(self._ministack.current_scope())

    def _send(self, mail: Mail, set_named: Callable[[str], Mapping[str, Any] | None]) -> str:
        """Accept a mail of the present account and region; its message id. Raises MailError."""
        if not self._enabled():
            raise MailError(Refusal.PAUSED, _PAUSED)
        mail.check()
        if mail.configuration_set:
            self._check_set(mail.configuration_set, set_named(mail.configuration_set))
        rejected = self._v1._message_rejection(mail.source, mail.recipients)
        if rejected:
            raise MailError(Refusal.REJECTED, rejected)
        scope, at = self._ministack.current_scope(), time.time()
        sent = Sent(f"01{int(at * 1000):014x}-{uuid.uuid4()}-000000", at, mail)
        self._outbox.put(scope, sent)
        # ministack's own list tells the quota.
        self._v1._sent_emails_list().append({"MessageId": sent.message_id, "Timestamp": at, "Source": mail.source})
        for event, number in count_events(mail.becomes()).items():
            self._world.store.put(scope, metric_key("AWS/SES", event, {}), 1.0, "Count", count=float(number))
        if not mail.infected:
            self._v1._send_notifications(sent.message_id, mail.source, mail.recipients)
        return sent.message_id

    def _check_set(self, name: str, found: Mapping[str, Any] | None) -> None:
        if found is None:
            raise MailError(Refusal.NO_CONFIGURATION_SET, f"Configuration set <{name}> does not exist.")
        if (found.get("SendingOptions") or {}).get("SendingEnabled") is False:
            said = f"Email sending is disabled for the configuration set <{name}>."
            raise MailError(Refusal.CONFIGURATION_SET_PAUSED, said)

    def _statistics(self) -> list[dict[str, float]]:
        return self._outbox.statistics(self._ministack.current_scope(), self._world.clock.wall(_BUCKET_S))

    # ------------------------------------------------------------------------------------------ notifications

    def _set_topic(self, params: Mapping[str, Any]) -> Answer:
        """https://docs.aws.amazon.com/ses/latest/APIReference/API_SetIdentityNotificationTopic.html"""
        identity = self._v1._p(params, "Identity")
        if identity not in self._v1._identities:
            return self._refuse_v1(MailError(Refusal.INVALID, f"Identity <{identity}> does not exist."))
        answer: Answer = self._their_topic(params)
        return answer

    def _notify(self, topic_arn: str, payload: Mapping[str, Any]) -> None:
        """Tell a topic; one that is gone, or whose policy does not let SES, is told nothing any more.

        https://docs.aws.amazon.com/ses/latest/dg/configure-sns-notifications.html
        """
        source = str(payload["mail"]["sourceArn"])
        account, region = source.split(":")[4], source.split(":")[3]
        topic = self._sns._topic_by_arn_any_scope(topic_arn)
        policy = topic["attributes"].get("Policy") if topic else None
        context = {"aws:sourceaccount": account, "aws:sourcearn": source}
        if not policy or not service_may(
            self._evaluator, policy, _PRINCIPAL, "sns:Publish", topic_arn, region, context
        ):
            _logger.warning("%s: may not publish to %s, and does not try again", source, topic_arn)
            topics = self._v1._identities[source.partition("/")[2]]["NotificationTopics"]
            topics.update({kind: "" for kind, arn in topics.items() if arn == topic_arn})
            return
        said = json.dumps(payload), "Amazon SES Email Event Notification"
        contextvars.Context().run(self._publish, (account, region), topic_arn, *said)

    def _publish(self, scope: Scope, topic_arn: str, text: str, subject: str) -> None:
        with self._ministack.scope(scope):
            self._sns.publish_internal(topic_arn, text, subject)


def _relay_nothing(source: str, to_addrs: Any, message_str: str) -> None:
    """In the place of ministack's, which sends to the server that `SMTP_HOST` names."""


def _said(body: Mapping[str, Any]) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _form(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value
