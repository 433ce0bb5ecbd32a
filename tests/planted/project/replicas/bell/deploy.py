"""Puts the order desk into a sandbox account."""

from pathlib import Path

HERE = Path(__file__).parent


def deploy(account):
    s3 = account.client("s3")
    s3.create_bucket(Bucket="bell-code")
    s3.put_object(Bucket="bell-code", Key="bell.zip", Body=account.zip_directory(HERE / "functions"))
    account.create_stack("bell", HERE / "template.yaml", {"CodeBucket": "bell-code", "CodeKey": "bell.zip"})
    # One return has failed once, and lies aside: the second look at it moves it there.
    sqs = account.client("sqs")
    returns = sqs.get_queue_url(QueueName="bell-returns")["QueueUrl"]
    sqs.send_message(QueueUrl=returns, MessageBody="a cracked bell")
    while sqs.receive_message(QueueUrl=returns, VisibilityTimeout=0).get("Messages"):
        pass
