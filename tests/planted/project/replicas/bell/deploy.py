"""Puts the order desk into a sandbox account."""

from pathlib import Path

HERE = Path(__file__).parent


def deploy(account):
    s3 = account.client("s3")
    s3.create_bucket(Bucket="bell-code")
    s3.put_object(Bucket="bell-code", Key="bell.zip", Body=account.zip_directory(HERE / "functions"))
    account.create_stack("bell", HERE / "template.yaml", {"CodeBucket": "bell-code", "CodeKey": "bell.zip"})
