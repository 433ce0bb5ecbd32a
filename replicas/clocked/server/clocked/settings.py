"""Everything the server is told from outside: the environment of its ECS task."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """Where the server listens and what it depends on."""

    port: int
    version: str
    database_host: str
    database_port: int
    database_name: str
    database_user: str
    database_password: str = field(repr=False)
    token_secret: str = field(repr=False)
    redis_host: str = field(repr=False)
    redis_port: int
    pool_size: int
    metadata_url: str
    vcpus: float
    token_life_s: int

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises KeyError or ValueError when something is missing: the task then ends at once and says why."""
        database = json.loads(os.environ["DATABASE_SECRET"])
        return cls(
            port=int(os.environ["PORT"]),
            version=os.environ["APP_VERSION"],
            database_host=database["host"],
            database_port=int(database["port"]),
            database_name=database["dbname"],
            database_user=database["username"],
            database_password=database["password"],
            redis_host=os.environ["REDIS_HOST"],
            redis_port=int(os.environ["REDIS_PORT"]),
            pool_size=int(os.environ.get("DATABASE_POOL", "10")),
            metadata_url=os.environ["ECS_CONTAINER_METADATA_URI_V4"],
            vcpus=float(os.environ["CPU_UNITS"]) / 1024,
            token_secret=os.environ["TOKEN_SECRET"],
            token_life_s=int(os.environ.get("TOKEN_LIFE_S", "3600")),
        )
