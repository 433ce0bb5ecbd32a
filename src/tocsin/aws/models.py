"""botocore's models of AWS's services, read once in a process.

Every session of botocore has a loader of its own, which reads the same files again: a tenth of a second and several
megabytes for its first client, of EC2 some twenty. Sessions of one process share a loader instead; what they load is
read by all clients of a session anyway, and changed by none.
"""

from __future__ import annotations

from functools import cache

from botocore.loaders import Loader, create_loader
from botocore.session import Session


def share(session: Session) -> None:
    """Let a session load what others have loaded: of those, whose `AWS_DATA_PATH` or `data_path` is its own.

    To be called after boto3 has made its session of it, as boto3 adds a search path to the loader that it finds.
    """
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))


@cache
def _loader(data_path: str | None) -> Loader:
    return create_loader(data_path)
