"""SES of the sandbox: sent, refused, switched off, bounced, told to topics, counted, and seen in the outbox."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import count
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from tests.sandbox.services.awslambda.conftest import Bench

from tocsin.actors.canaries import EmulatedOutbox
from tocsin.sandbox.account import SentMail

BOUNCE, COMPLAINT = "bounce@simulator.amazonses.com", "complaint@simulator.amazonses.com"

_numbers = count()


class Post:
    """An identity of one test, and what was sent since it began."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.name = f"sender-{next(_numbers)}"
        self.source = f"{self.name}@example.com"
        self.v1, self.v2 = bench.client("ses"), bench.client("sesv2")
        self.began = time.time()
        self.before = {event: self.total(event) for event in ("Send", "Delivery", "Bounce", "Complaint", "Reject")}

    def verify(self) -> None:
        self.v2.create_email_identity(EmailIdentity=self.source)

    def send(self, *to: str, client: Any = None, **more: Any) -> str:
        content = {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}}
        asked = {"FromEmailAddress": self.source, "Destination": {"ToAddresses": list(to or ("b@example.com",))}}
        answer = (client or self.v2).send_email(**{**asked, "Content": content, **more})
        return str(answer["MessageId"])

    def send_by_v1(self, *to: str, **more: Any) -> str:
        message = {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}
        asked = {"Source": self.source, "Destination": {"ToAddresses": list(to or ("b@example.com",))}}
        return str(self.v1.send_email(**{**asked, "Message": message, **more})["MessageId"])

    @property
    def mails(self) -> list[SentMail]:
        """What this identity sent."""
        return [one for one in self.bench.account.mails(self.began) if one.source == self.source]

    def total(self, event: str) -> float:
        now = datetime.now(UTC)
        wanted = {"Namespace": "AWS/SES", "MetricName": event, "Dimensions": []}
        query = {"Id": "all", "MetricStat": {"Metric": wanted, "Period": 86400, "Stat": "Sum"}}
        (found,) = self.bench.client("cloudwatch").get_metric_data(
            MetricDataQueries=[query], StartTime=now - timedelta(hours=1), EndTime=now
        )["MetricDataResults"]
        return float(sum(found["Values"]))

    def counted(self) -> dict[str, float]:
        """What was counted since the test began."""
        found = {event: self.total(event) - before for event, before in self.before.items()}
        return {event: number for event, number in found.items() if number}

    def told(self, *kinds: str) -> str:
        """A queue in which the topic of this identity's notifications is read; its name."""
        topic, queue = self.bench.topic(), self.bench.queue()
        statement = {"Effect": "Allow", "Principal": {"Service": "ses.amazonaws.com"}, "Action": "sns:Publish"}
        policy = {"Version": "2012-10-17", "Statement": [{**statement, "Resource": topic}]}
        sns = self.bench.client("sns")
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy))
        raw = {"RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=self.bench.arn(queue), Attributes=raw)
        for kind in kinds:
            self.v1.set_identity_notification_topic(Identity=self.source, NotificationType=kind, SnsTopic=topic)
        return queue

    def notifications(self, queue: str) -> list[dict[str, Any]]:
        return [json.loads(message["Body"]) for message in self.bench.messages(queue)]


@pytest.fixture
def post(bench: Bench) -> Iterator[Post]:
    post = Post(bench)
    post.verify()
    yield post
    post.v2.put_account_sending_attributes(SendingEnabled=True)
    post.v2.delete_email_identity(EmailIdentity=post.source)


def refused(call: Any, *args: Any, **asked: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(*args, **asked)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


# ------------------------------------------------------------------------------------------------ sending


def test_a_mail_is_accepted_counted_and_in_the_outbox(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html"""
    identity = post.send("b@example.com", "c@example.com", EmailTags=[{"Name": "kind", "Value": "test"}])
    (mail,) = post.mails
    assert (mail.message_id, mail.to, mail.subject, mail.text) == (
        identity,
        ("b@example.com", "c@example.com"),
        "s",
        "t",
    )
    assert mail.tags == {"kind": "test"}
    assert mail.events == {"b@example.com": ("Delivery",), "c@example.com": ("Delivery",)}
    assert post.counted() == {"Send": 2, "Delivery": 2}


def test_a_raw_mail_is_sent_to_whom_it_says(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_RawMessage.html"""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = post.source, "b@example.com", "raw"
    message.set_content("t")
    post.v2.send_email(Content={"Raw": {"Data": message.as_bytes()}})
    post.v1.send_raw_email(RawMessage={"Data": message.as_bytes()})
    assert [(mail.to, mail.subject) for mail in post.mails] == [(("b@example.com",), "raw")] * 2


def test_v1_sends_into_the_same_outbox(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference/API_SendEmail.html"""
    identity = post.send_by_v1("b@example.com")
    assert [mail.message_id for mail in post.mails] == [identity]
    assert post.counted() == {"Send": 1, "Delivery": 1}


def test_who_is_not_verified_sends_nothing(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html"""
    post.v2.delete_email_identity(EmailIdentity=post.source)
    for send in (post.send, post.send_by_v1):
        code, said = refused(send)
        assert code == "MessageRejected"
        assert said.startswith("Email address is not verified. The following identities failed the check in region")
    assert post.mails == []
    assert post.counted() == {}


def test_a_verified_domain_is_verified_for_its_addresses(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/verify-addresses-and-domains.html"""
    post.v2.create_email_identity(EmailIdentity=f"{post.name}.example.org")
    post.send(FromEmailAddress=f"anybody@{post.name}.example.org")
    assert refused(post.send, FromEmailAddress="anybody@example.org")[0] == "MessageRejected"


def test_in_the_sandbox_of_ses_recipients_are_verified_too(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/request-production-access.html"""
    details = {"MailType": "TRANSACTIONAL", "WebsiteURL": "https://example.com"}
    post.v2.put_account_details(**details, ProductionAccessEnabled=False)
    try:
        assert refused(post.send, "b@example.com")[0] == "MessageRejected"
        post.send("success@simulator.amazonses.com")
    finally:
        post.v2.put_account_details(**details, ProductionAccessEnabled=True)


def test_a_canary_finds_the_mail_in_the_outbox(post: Post) -> None:
    outbox = EmulatedOutbox(post.bench.account.target)
    content = {"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": f"order of {post.name}"}}}}
    post.send("b@example.com", Content=content)
    assert outbox.find("b@example.com", f"order of {post.name}", 60.0)
    assert not outbox.find("c@example.com", f"order of {post.name}", 60.0)
    assert not outbox.find("b@example.com", f"bill of {post.name}", 60.0)


# ------------------------------------------------------------------------------------------------ the switch


def test_an_account_that_is_paused_sends_nothing_until_it_is_switched_on(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutAccountSendingAttributes.html"""
    assert post.v2.get_account()["SendingEnabled"] is True
    post.v2.put_account_sending_attributes(SendingEnabled=False)
    assert post.v2.get_account()["SendingEnabled"] is False
    assert post.v1.get_account_sending_enabled()["Enabled"] is False
    assert refused(post.send)[0] == "SendingPausedException"
    assert refused(post.send_by_v1)[0] == "AccountSendingPausedException"
    assert post.mails == []
    assert post.counted() == {}
    post.v2.put_account_sending_attributes(SendingEnabled=True)
    post.send()
    assert len(post.mails) == 1


def test_v1_has_the_same_switch(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference/API_UpdateAccountSendingEnabled.html"""
    post.v1.update_account_sending_enabled(Enabled=False)
    assert post.v2.get_account()["SendingEnabled"] is False
    post.v1.update_account_sending_enabled(Enabled=True)
    assert post.v1.get_account_sending_enabled()["Enabled"] is True


def test_a_region_is_switched_off_by_itself(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/managing-account-level-sending-pause.html"""
    elsewhere = post.bench.account._session.client(
        "sesv2", endpoint_url=post.bench.account.endpoint_url, region_name="eu-north-1"
    )
    elsewhere.put_account_sending_attributes(SendingEnabled=False)
    post.send()
    assert len(post.mails) == 1


def test_a_configuration_set_has_a_switch_of_its_own(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutConfigurationSetSendingOptions.html"""
    assert refused(post.send, ConfigurationSetName=post.name)[0] == "NotFoundException"
    assert refused(post.send_by_v1, ConfigurationSetName=post.name)[0] == "ConfigurationSetDoesNotExist"
    post.v2.create_configuration_set(ConfigurationSetName=post.name)
    post.send(ConfigurationSetName=post.name)
    post.v2.put_configuration_set_sending_options(ConfigurationSetName=post.name, SendingEnabled=False)
    assert refused(post.send, ConfigurationSetName=post.name)[0] == "SendingPausedException"
    code, _ = refused(post.send_by_v1, ConfigurationSetName=post.name)
    assert code == "ConfigurationSetSendingPausedException"
    assert [mail.configuration_set for mail in post.mails] == [post.name]


# ------------------------------------------------------------------------------------------------ what becomes of it


def test_bounces_and_complaints_are_counted(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-cloudwatch.html"""
    post.send(BOUNCE, COMPLAINT, "b@example.com")
    assert post.counted() == {"Send": 3, "Delivery": 2, "Bounce": 1, "Complaint": 1}
    (mail,) = post.mails
    assert mail.events[BOUNCE] == ("Bounce",)


def test_a_virus_is_accepted_and_rejected(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/send-an-email-from-console.html#send-email-simulator"""
    virus = "EICAR-STANDARD" + "-ANTIVIRUS-TEST-FILE"
    post.send(Content={"Simple": {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": virus}}}})
    assert post.counted() == {"Send": 1, "Reject": 1}


def test_statistics_of_v1_know_of_bounces(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/APIReference/API_GetSendStatistics.html"""

    def bounces() -> int:
        return sum(int(one["Bounces"]) for one in post.v1.get_send_statistics()["SendDataPoints"])

    before = bounces()
    post.send(BOUNCE)
    assert bounces() == before + 1


def test_topics_of_an_identity_are_told(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html"""
    queue = post.told("Bounce", "Complaint")
    identity = post.send(BOUNCE, COMPLAINT, "b@example.com")
    found = {one["notificationType"]: one for one in post.notifications(queue)}
    assert set(found) == {"Bounce", "Complaint"}
    assert found["Bounce"]["mail"]["messageId"] == identity
    assert found["Bounce"]["bounce"]["bouncedRecipients"][0]["emailAddress"] == BOUNCE
    assert found["Complaint"]["complaint"]["complainedRecipients"] == [{"emailAddress": COMPLAINT}]


def test_a_topic_whose_policy_does_not_let_ses_is_told_nothing_any_more(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/configure-sns-notifications.html"""
    topic, queue = post.bench.topic(), post.bench.queue()
    post.bench.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=post.bench.arn(queue))
    post.v1.set_identity_notification_topic(Identity=post.source, NotificationType="Bounce", SnsTopic=topic)
    post.send(BOUNCE)
    assert post.bench.messages(queue) == []
    assert post.counted() == {"Send": 1, "Bounce": 1}
    statement = {"Effect": "Allow", "Principal": {"Service": "ses.amazonaws.com"}, "Action": "sns:Publish"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**statement, "Resource": topic}]})
    sns = post.bench.client("sns")
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    post.send(BOUNCE)
    assert post.bench.messages(queue) == []
    post.v1.set_identity_notification_topic(Identity=post.source, NotificationType="Bounce", SnsTopic=topic)
    post.send(BOUNCE)
    assert len(post.bench.messages(queue)) == 1


# ------------------------------------------------------------------------------------------------ IAM


def clerk(post: Post, *statements: dict[str, Any], service: str = "sesv2") -> Any:
    """A client that may do just that."""
    iam = post.bench.client("iam")
    iam.create_user(UserName=post.name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **one} for one in statements]}
    iam.put_user_policy(UserName=post.name, PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=post.name)["AccessKey"]
    return boto3.client(
        service,
        endpoint_url=post.bench.account.endpoint_url,
        region_name=post.bench.account.region,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
    )


def test_who_may_send_is_asked_about_the_identity(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/control-user-access.html"""
    account = post.bench.account
    arn = f"arn:aws:ses:{account.region}:{account.account_id}:identity/{post.source}"
    may = clerk(post, {"Action": "ses:SendEmail", "Resource": arn})
    post.send(client=may)
    post.v2.create_email_identity(EmailIdentity=f"other-{post.source}")
    code, said = refused(post.send, client=may, FromEmailAddress=f"other-{post.source}")
    assert code == "AccessDeniedException"
    assert f"identity/other-{post.source}" in said


def test_the_identity_of_an_address_may_be_its_domain(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/control-user-access.html"""
    domain, account = f"{post.name}.example.org", post.bench.account
    post.v2.create_email_identity(EmailIdentity=domain)
    arn = f"arn:aws:ses:{account.region}:{account.account_id}:identity/{domain}"
    may = clerk(post, {"Action": "ses:SendEmail", "Resource": arn})
    post.send(client=may, FromEmailAddress=f"anybody@{domain}")
    assert refused(post.send, client=may)[0] == "AccessDeniedException"


def test_raw_mail_wants_an_action_of_its_own(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/control-user-access.html"""
    may = clerk(post, {"Action": "ses:SendEmail", "Resource": "*"})
    message = EmailMessage()
    message["From"], message["To"] = post.source, "b@example.com"
    code, said = refused(may.send_email, Content={"Raw": {"Data": message.as_bytes()}})
    assert code == "AccessDeniedException"
    assert "ses:SendRawEmail" in said


def test_v1_is_asked_about_its_own_actions_and_the_identity(post: Post) -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonses.html"""
    account = post.bench.account
    arn = f"arn:aws:ses:{account.region}:{account.account_id}:identity/{post.source}"
    may = clerk(post, {"Action": "ses:SendEmail", "Resource": arn}, service="ses")
    message = {"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}}
    asked = {"Source": post.source, "Destination": {"ToAddresses": ["b@example.com"]}, "Message": message}
    may.send_email(**asked)
    assert refused(may.send_email, **{**asked, "Source": f"x{post.source}"})[0] == "AccessDenied"
    assert refused(may.update_account_sending_enabled, Enabled=False)[0] == "AccessDenied"
    assert len(post.mails) == 1


def test_who_may_not_switch_switches_nothing(post: Post) -> None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsimpleemailservicev2.html"""
    may = clerk(post, {"Action": ["ses:GetAccount", "ses:SendEmail"], "Resource": "*"})
    assert may.get_account()["SendingEnabled"] is True
    code, said = refused(may.put_account_sending_attributes, SendingEnabled=False)
    assert code == "AccessDeniedException"
    assert "ses:PutAccountSendingAttributes" in said
    post.send(client=may)


# ------------------------------------------------------------------------------------------------ what is refused


def test_what_the_sandbox_does_not_do_is_refused_by_name(post: Post) -> None:
    template = {"Template": {"TemplateName": "t", "TemplateData": "{}"}}
    assert "renders no templates" in refused(post.send, Content=template)[1]
    entries = [{"Destination": {"ToAddresses": ["b@example.com"]}}]
    bulk = {"DefaultContent": template, "BulkEmailEntries": entries, "FromEmailAddress": post.source}
    assert "SendBulkEmail" in refused(post.v2.send_bulk_email, **bulk)[1]
    suppressed = refused(post.v2.put_account_suppression_attributes, SuppressedReasons=["BOUNCE"])
    assert "no suppression list" in suppressed[1]
    post.v2.create_configuration_set(ConfigurationSetName=post.name)
    destination = {"Enabled": True, "MatchingEventTypes": ["SEND"], "EventBridgeDestination": {"EventBusArn": "arn:x"}}
    code, said = refused(
        post.v2.create_configuration_set_event_destination,
        ConfigurationSetName=post.name,
        EventDestinationName="d",
        EventDestination=destination,
    )
    assert (code, said.split(":")[0]) == ("BadRequestException", "EventDestination")
    old = {"Source": post.source, "Destination": {"ToAddresses": ["b@example.com"]}, "TemplateData": "{}"}
    assert "SendTemplatedEmail" in refused(post.v1.send_templated_email, Template="t", **old)[1]
    asked = {"Identity": "nobody@example.com", "NotificationType": "Bounce", "SnsTopic": "arn:aws:sns:::t"}
    assert refused(post.v1.set_identity_notification_topic, **asked)[0] == "InvalidParameterValue"


def test_an_address_that_is_none_is_refused(post: Post) -> None:
    """https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html"""
    assert refused(post.send, "nobody") == ("BadRequestException", "Missing final '@domain'")
    assert refused(post.send_by_v1, "nobody") == ("InvalidParameterValue", "Missing final '@domain'")
    assert refused(post.send, Destination={})[0] == "BadRequestException"
