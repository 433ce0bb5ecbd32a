"""Canaries of Clocked: the health check of its runbook, and what its users come for."""

from __future__ import annotations

import uuid

from tocsin.canary import Journey


def canary_health(api: Journey) -> None:
    """Health Checks: the API answers with status, timestamp, uptime and version."""
    with api.step("health"):
        assert api.get("/health", expect=200).json()["status"] == "ok"


def canary_session(api: Journey) -> None:
    """Somebody starts a session of work, sees it, and stops it."""
    project = f"canary {uuid.uuid4().hex[:8]}"
    with api.step("no token"):
        api.get("/sessions", expect=401)
    with api.step("start"):
        started = api.post("/sessions", json={"project": project}, as_="user", expect=201).json()
        assert started["stoppedAt"] is None
    with api.step("see it"):
        mine = api.get("/sessions", as_="user", expect=200).json()["sessions"]
        assert started["id"] in [session["id"] for session in mine]
    with api.step("stop"):
        stopped = api.patch(f"/sessions/{started['id']}/stop", as_="user", expect=200).json()
        assert stopped["stoppedAt"] is not None


def canary_group(api: Journey) -> None:
    """Somebody makes a group and takes a colleague into it, once."""
    with api.step("create"):
        group = api.post("/groups", json={"name": f"canary {uuid.uuid4().hex[:8]}"}, as_="user", expect=201).json()
        assert group["members"] == 1
    path, colleague = f"/groups/{group['id']}/members", {"username": "synthetic-colleague"}
    with api.step("add"):
        api.post(path, json=colleague, as_="user", expect=201)
    with api.step("no duplicates"):
        api.post(path, json=colleague, as_="user", expect=409)
    with api.step("see it"):
        mine = api.get("/groups", as_="user", expect=200).json()["groups"]
        assert {"id": group["id"], "name": group["name"], "members": 2} in mine


DATABASE = "clocked/db"
# Users whose name begins with `synthetic-` are nobody: the deployment makes them, and nobody may choose such a name.
SESSIONS = "FROM sessions WHERE user_id IN (SELECT id FROM users WHERE username LIKE 'synthetic-%')"
GROUPS_LEFT = """
SELECT group_id FROM group_members JOIN users ON users.id = user_id
GROUP BY group_id HAVING bool_and(username LIKE 'synthetic-%')
"""
# In one statement: without its members nobody would know whose a group was.
REMOVE_GROUPS = """
WITH ours AS MATERIALIZED (
    SELECT group_id FROM group_members JOIN users ON users.id = user_id
    GROUP BY group_id HAVING bool_and(username LIKE 'synthetic-%')
), members AS (
    DELETE FROM group_members WHERE group_id IN (SELECT group_id FROM ours)
)
DELETE FROM groups WHERE id IN (SELECT group_id FROM ours)
"""


def remove_sessions(api: Journey) -> None:
    """The sessions of synthetic users, which the API lets nobody delete."""
    with api.step("remove"):
        api.sql(DATABASE, f"DELETE {SESSIONS}")
        left = api.sql(DATABASE, f"SELECT sessions.id {SESSIONS}")
        assert left == [], f"{len(left)} are left: is a drill running?"


def remove_groups(api: Journey) -> None:
    """The groups that have none but synthetic members, with these; groups of people keep all of theirs."""
    with api.step("remove"):
        api.sql(DATABASE, REMOVE_GROUPS)
        left = api.sql(DATABASE, GROUPS_LEFT)
        assert left == [], f"{len(left)} are left: is a drill running?"
