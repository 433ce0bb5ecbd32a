"""An order desk: an HTTP API that takes orders, a worker that does them, a heartbeat that shows it is alive."""

import json
import os
import urllib.parse
import urllib.request
import uuid

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def api(event, context):
    """GET /healthz and POST /orders."""
    if event["routeKey"] == "GET /healthz":
        return answer(200, {"status": "ok"})
    try:
        item = json.loads(event.get("body") or "")["item"]
    except (ValueError, TypeError, KeyError):
        return answer(400, {"message": "expected an item"})
    if not isinstance(item, str) or not 1 <= len(item) <= 40:
        return answer(400, {"message": "an item has 1 to 40 characters"})
    order = str(uuid.uuid4())
    send({"order": order, "item": item})
    log("order_accepted", order)
    return answer(202, {"order": order})


def stock(event, context):
    """GET /stock; without its supplier it answers the documented 503."""
    if not os.environ["SUPPLIER_TOKEN"].startswith("not-a-secret-"):
        return answer(503, {"message": "the supplier does not answer"})
    return answer(200, {"bells": 7})


def worker(event, context):
    """Does the orders of the queue; what is no order fails, and ends in the dead-letter queue."""
    done = []
    for record in event["Records"]:
        order = json.loads(record["body"])["order"]
        log("order_done", order)
        done.append(order)
    announce({"orders": done})


def heartbeat(event, context):
    """Called by a schedule: somebody is at home."""
    return "here"


def answer(status, body):
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}


def log(event, order):
    print(json.dumps({"event": event, "order": order}))


def send(order):
    body = {"QueueUrl": os.environ["QUEUE_URL"], "MessageBody": json.dumps(order)}
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "AmazonSQS.SendMessage"}
    call("sqs", headers, json.dumps(body))


def announce(done):
    """Tell whoever wants to know it what was done; an order is done whether it is told or not."""
    body = {"Action": "Publish", "Version": "2010-03-31", "TopicArn": os.environ["DONE_TOPIC"]}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        call("sns", headers, urllib.parse.urlencode({**body, "Message": json.dumps(done)}))
    except OSError as error:
        print(f"not announced: {error}")


def call(service, headers, body):
    request = AWSRequest("POST", os.environ["AWS_ENDPOINT_URL"] + "/", headers, body)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    credentials = Credentials(*(os.environ[name] for name in names))
    SigV4Auth(credentials, service, os.environ["AWS_REGION"]).add_auth(request)
    signed = urllib.request.Request(request.url, request.data.encode(), dict(request.headers), method="POST")
    urllib.request.urlopen(signed, timeout=3).close()
