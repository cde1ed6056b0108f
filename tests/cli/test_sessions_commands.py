"""`sessions`, `dead`, `token` and `status`: what people do with a running system."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from harness.services import environment
from harness.up import CommandProgram
from sessions import times
from sessions.stream.lanes.inbound import Inbound
from sessions.stream.lanes.lanes import Lanes
from sessions.stream.redis import connect
from tests.cli.command import UpWithCommands, turnstream


def publish(up: UpWithCommands, key: str, content: str, **fields: str) -> None:
    """Publish a user message and wait until it is stored."""
    pairs = [f"{name}={value}" for name, value in fields.items()]
    done = up.run("publish", "--wait", f"session={key}", "role=user", f"content={content}", *pairs)
    assert done.code in (0, 1), done.err


def dead_letter(up: UpWithCommands, key: str) -> str:
    """The id of a dead letter that this test has made."""
    publish(up, key, "one", id=f"{key}-twice")
    publish(up, key, "two", id=f"{key}-twice")
    letters = up.run("dead", "list", "--json").json()["dead_letters"]
    [letter] = [letter["id"] for letter in letters if letter["session"] == key]
    return letter


def test_a_list_shows_the_latest_first(up: UpWithCommands, key: str) -> None:
    """In a pipe each session is a line of fields between tabs."""
    publish(up, f"{key}_old", "hello", channel="telegram")
    publish(up, f"{key}_new", "hello", channel="telegram")
    titles, *rows = up.run("sessions", "list", "--channel", "telegram").out.splitlines()
    assert titles.split("\t")[0] == "session"
    keys = [row.split("\t")[0] for row in rows]
    assert keys.index(f"{key}_new") < keys.index(f"{key}_old")


def test_a_list_goes_on_over_pages(up: UpWithCommands, key: str) -> None:
    """`--limit` bounds it, `--all` does not."""
    for number in range(3):
        publish(up, f"{key}_{number}", "hello", agent=key)
    some = up.run("sessions", "list", "--agent", key, "-n", 2, "--json").json()
    every = up.run("sessions", "list", "--agent", key, "--all", "--json").json()
    assert (len(some["sessions"]), len(every["sessions"])) == (2, 3)


def test_a_session_is_shown_with_its_last_messages(up: UpWithCommands, key: str) -> None:
    """The oldest of them first; how many there are is said beside it."""
    for number in range(3):
        publish(up, key, f"message {number}")
    shown = up.run("sessions", "show", key, "-n", 2)
    assert [line for line in shown.out.splitlines() if line.startswith("message")] == [
        "message 1",
        "message 2",
    ]
    assert "2 of 3 messages" in shown.err


def test_escape_codes_in_a_message_are_shown_and_not_obeyed(up: UpWithCommands, key: str) -> None:
    """A message cannot paint on the terminal of who reads it."""
    publish(up, key, "\x1b[2Jgone")
    assert "\\x1b[2Jgone" in up.run("sessions", "show", key).out


def test_tail_shows_what_comes(up: UpWithCommands, key: str) -> None:
    """First what is there, then each new message once."""
    publish(up, key, "first")
    with CommandProgram(up.workspace, environment(), "sessions", "tail", key) as tail:
        tail.says_sync("first")
        publish(up, key, "second")
        publish(up, key, "third")
        tail.says_sync("third")
        assert [tail.log.count(word) for word in ("first", "second", "third")] == [1, 1, 1]


@pytest.mark.parametrize("verb", ["show", "tail"])
def test_a_session_that_does_not_exist_is_an_error(up: UpWithCommands, key: str, verb: str) -> None:
    """With the way to the sessions that do."""
    done = up.run("sessions", verb, key)
    assert (done.code, done.out) == (1, "")
    assert f"there is no session {key}" in done.err
    assert "sessions list" in done.err


def test_a_session_without_messages_is_shown_as_empty(up: UpWithCommands, key: str) -> None:
    """After a reset there is one, and nothing in it."""
    publish(up, key, "hello")
    assert up.run("sessions", "reset", key, "--yes").code == 0
    done = up.run("sessions", "show", key)
    assert done.code == 0
    assert "0 of 0 messages" in done.err


async def fill_lane(up: UpWithCommands, session: str, *texts: str) -> None:
    """Messages in a session's lane, the first of which is being answered."""
    found = json.loads((up.workspace / "up.json").read_text())
    async with aclosing(connect(found["redis_url"])) as redis:
        lanes = Lanes(redis, url=found["redis_url"], prefix=found["prefix"])
        await lanes.replicas.register()
        for text in texts:
            message = Inbound(f"{session}:{text}", session, text, "main", times.now(), sender="ada")
            await lanes.enqueue(message.lane, message.id, message.dump())


def test_a_queue_is_shown_and_a_message_is_removed(up: UpWithCommands, key: str) -> None:
    """What is being answered stays."""
    publish(up, key, "hello")
    assert "nothing runs or waits" in up.run("sessions", "queue", key).err
    asyncio.run(fill_lane(up, key, "one", "two", "three"))
    titles, *rows = up.run("sessions", "queue", key).out.splitlines()
    assert titles.split("\t") == ["state", "message", "for", "from", "text"]
    assert [row.split("\t")[0] for row in rows] == ["running", "waiting", "waiting"]
    _, message, age, *rest = rows[1].split("\t")
    assert (message, age[-2:], rest) == (f"{key}:two", " s", ["ada", "two"])
    removed = up.run("sessions", "queue", key, "--remove", f"{key}:two")
    assert (removed.code, removed.out) == (0, f"{key}:two: removed; it is not answered\n")
    found = up.run("sessions", "queue", key, "--json").json()["queue"]
    assert [row["content"] for row in found] == ["one", "three"]
    for message, why in ((f"{key}:two", "waits"), (f"{key}:one", "being answered")):
        refused = up.run("sessions", "queue", key, "--remove", message)
        assert refused.code == 1
        assert why in refused.err


def test_search_finds_words_in_any_order(up: UpWithCommands, key: str) -> None:
    """In one session or in all."""
    publish(up, key, "The blue umbrella stands in the hall")
    found = up.run("sessions", "search", "umbrella", "blue", "--session", key, "--json").json()
    assert [hit["session"] for hit in found["messages"]] == [key]
    assert "blue umbrella" in up.run("sessions", "search", "umbrella blue").out


def test_a_session_is_sent_to_renamed_reset_and_deleted(up: UpWithCommands, key: str) -> None:
    """Each takes effect before the command ends."""
    publish(up, key, "hello")
    assert up.run("sessions", "send", key, "from here").code == 0
    assert up.run("sessions", "rename", key, "Kitchen").code == 0
    shown = up.run("sessions", "show", key, "--json").json()
    assert [message["content"] for message in shown["messages"]] == ["hello", "from here"]
    assert f"{key}\tKitchen" in up.run("sessions", "list", "--all").out
    assert up.run("sessions", "reset", key, "--yes").code == 0
    assert up.run("sessions", "show", key, "--json").json()["total"] == 0
    assert up.run("sessions", "delete", key, "--yes").code == 0
    assert key not in up.run("sessions", "list", "--all").out


def test_a_session_is_woken_and_its_answer_printed(up: UpWithCommands, key: str) -> None:
    """The answer alone is on standard output; the same key waits for the same answer again."""
    publish(up, key, "hello", agent="main")
    woken = up.run("sessions", "send", key, "news?", "--wake", "--key", f"{key}-k")
    assert (woken.code, woken.out) == (0, "")
    assert f"--await-reply 60 --key {key}-k" in woken.err
    for _ in range(2):
        again = up.run("sessions", "send", key, "news?", "--await-reply", "30", "--key", f"{key}-k")
        assert (again.code, again.out) == (0, "news?\n")
        assert "sent nowhere: the session has no channel" in again.err
    shown = up.run("sessions", "show", key, "--json").json()
    assert [said["content"] for said in shown["messages"]] == ["hello", "news?", "news?"]
    data = up.run("sessions", "send", key, "more", "--await-reply", "30", "--json").json()["data"]
    assert (data["status"], data["text"]) == ("replied", "more")


def test_a_session_of_nobody_is_not_woken(up: UpWithCommands, key: str) -> None:
    """The command says why, and that a message can be left."""
    publish(up, key, "hello")
    refused = up.run("sessions", "send", key, "news?", "--wake")
    assert refused.code != 0
    assert f"nobody answers in session '{key}'" in refused.err
    late = up.run("sessions", "send", key, "news?", "--await-reply", "61")
    assert late.code == 2
    assert "0<=x<=60" in late.err


def test_owners_are_listed_and_changed(up: UpWithCommands, key: str) -> None:
    """One session, and all sessions of an agent at once."""
    old, new = f"{key}_old", f"{key}_new"
    for number in range(2):
        publish(up, f"{key}_{number}", "hello", agent=old)
    assert f"{old}\t2" in up.run("sessions", "owner").out.splitlines()
    assert up.run("sessions", "owner", f"{key}_0", new).out == f"{key}_0: now of {new}\n"
    moved = up.run("sessions", "owner", "--from", old, "--to", new, "--yes", "--json").json()
    assert (moved["from"], moved["to"], moved["outcome"]) == (old, new, "applied")
    assert f"{new}\t2" in up.run("sessions", "owner").out.splitlines()
    assert up.run("sessions", "owner", f"{key}_0", "--nobody").code == 0
    owners = up.run("sessions", "owner", "--json").json()["owners"]
    assert {"agent": new, "sessions": 1} in owners


def test_a_new_owner_that_has_no_settings_is_remarked_on(up: UpWithCommands, key: str) -> None:
    """It may be a slip of the pen; the session is given all the same."""
    publish(up, key, "hello")
    assert f"[agents.{key}]" in up.run("sessions", "owner", key, key).err
    assert "agents" not in up.run("sessions", "owner", key, "main").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("one",),
        ("one", "anna", "--nobody"),
        ("--nobody",),
        ("--from", "anna"),
        ("--to", "anna"),
        ("one", "--from", "anna", "--to", "bert"),
        ("--from", "anna", "--to", "bert", "--nobody"),
        ("--from", "anna", "--to", "bert"),
    ],
)
def test_a_half_said_change_of_owners_is_wrong_usage(
    up: UpWithCommands, arguments: tuple[str, ...]
) -> None:
    """The last one is whole, but there is nobody who could be asked."""
    assert up.run("sessions", "owner", *arguments).code == 2


def test_an_unknown_session_or_agent_has_no_owner_to_change(up: UpWithCommands, key: str) -> None:
    """One line that says what is not there."""
    for arguments in ((key, "anna"), ("--from", key, "--to", "anna", "--yes")):
        refused = up.run("sessions", "owner", *arguments)
        assert refused.code == 1
        assert refused.err.count("\n") == 1


def test_nothing_is_lost_by_a_command_that_cannot_ask(up: UpWithCommands, key: str) -> None:
    """Without a terminal --yes is needed."""
    publish(up, key, "hello")
    refused = up.run("sessions", "delete", key)
    assert refused.code == 2
    assert "--yes" in refused.err
    assert up.run("sessions", "show", key, "--json").json()["total"] == 1


def test_an_unknown_session_is_an_error_of_one_line(up: UpWithCommands, key: str) -> None:
    """In the words of the tool."""
    refused = up.run("sessions", "send", key, "hello")
    assert refused.code == 1
    assert "not found" in refused.err
    assert refused.err.count("\n") == 1


def test_a_dead_letter_is_shown_with_its_fields(up: UpWithCommands, key: str) -> None:
    """As the producer wrote them."""
    letter = dead_letter(up, key)
    shown = up.run("dead", "show", letter).out
    assert "id_conflict" in shown
    assert "content = two" in shown


def test_a_dead_letter_that_cannot_be_replayed_stays(up: UpWithCommands, key: str) -> None:
    """The reason is told, and the exit code is 1."""
    letter = dead_letter(up, key)
    refused = up.run("dead", "replay", letter)
    assert refused.code == 1
    assert "still_dead" in refused.out
    assert letter in up.run("dead", "list", "-n", 1000).out


def test_a_purged_dead_letter_is_gone(up: UpWithCommands, key: str) -> None:
    """Purging it again is an error."""
    letter = dead_letter(up, key)
    assert up.run("dead", "purge", letter).code == 2
    assert up.run("dead", "purge", letter, "--yes").code == 0
    assert up.run("dead", "purge", letter, "--yes").code == 1
    assert letter not in up.run("dead", "list", "-n", 1000).out


def test_which_dead_letters_must_be_said(up: UpWithCommands) -> None:
    """Neither none nor both."""
    assert up.run("dead", "replay").code == 2
    assert up.run("dead", "purge", "--all", "x", "--yes").code == 2


def test_a_token_works_until_it_is_revoked(up: UpWithCommands, key: str) -> None:
    """Both take effect at once, without a restart."""
    wanted = ("--agent", key, "--scope", "read", "--print", "--json")
    made = up.run("token", "create", *wanted).json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    assert up.url is not None
    assert httpx.get(f"{up.url}/api/sessions", headers=headers).status_code == 200
    assert made["id"] in up.run("token", "list").out
    assert made["token"] not in up.run("token", "list", "--json").out
    assert up.run("token", "revoke", made["id"]).code == 0
    assert httpx.get(f"{up.url}/api/sessions", headers=headers).status_code == 401
    assert up.run("token", "revoke", made["id"]).code == 1


@pytest.mark.parametrize("scope", ["metrics", "serve"])
def test_a_token_of_a_service_says_its_scope(up: UpWithCommands, scope: str) -> None:
    """It belongs to no agent."""
    made = up.run("token", "create", "--scope", scope, "--print", "--json").json()
    headers = {"Authorization": f"Bearer {made['token']}"}
    told = httpx.get(f"{up.url}/api/tokens/self", headers=headers).json()
    assert told == {"agent": None, "scope": scope}
    assert (
        up.run("token", "create", "--scope", scope, "--agent", "main", "--print").code
        == os.EX_CONFIG
    )


def test_a_wrong_token_is_a_matter_of_configuration(up: UpWithCommands) -> None:
    """The message says which variable to fix."""
    environ = environment(TURNSTREAM_TOKEN="ts_wrong")
    refused = turnstream("sessions", "list", workspace=up.workspace, environ=environ)
    assert refused.code == os.EX_CONFIG
    assert "TURNSTREAM_TOKEN" in refused.err


def test_status_tells_how_far_the_worker_is(up: UpWithCommands, key: str) -> None:
    """With the leader, the position and the backlog."""
    publish(up, key, "hello")
    found = up.run("status", "--json").json()
    assert found["web"]["ready"]
    assert found["stream"]["backlog"] == 0
    assert found["store"]["leader"]
    assert found["store"]["position"].endswith(f"{found['stream']['last_id']}.")


def test_status_of_a_workspace_where_nothing_runs_says_so(workspace: Path) -> None:
    """It asks what it can, and makes nothing."""
    environ = environment(TURNSTREAM_PORT="1")
    found = turnstream("status", workspace=workspace, environ=environ)
    assert found.code == os.EX_TEMPFAIL
    assert "turnstream up" in found.out
    assert not workspace.exists()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("nonsense", os.EX_CONFIG),
        ("http://[", os.EX_CONFIG),
        ("http://user:password@127.0.0.1:1", os.EX_CONFIG),
        ("http://127.0.0.1:1", os.EX_TEMPFAIL),
    ],
)
def test_a_wrong_address_is_told_in_a_line(workspace: Path, url: str, code: int) -> None:
    """Whatever it is that stands there; what may hold a password is not repeated."""
    environ = environment(TURNSTREAM_API_URL=url)
    refused = turnstream("sessions", "list", workspace=workspace, environ=environ)
    assert refused.code == code
    assert (url if code == os.EX_TEMPFAIL else "api_url") in refused.err
    assert "password@" not in refused.err
    assert refused.err.count("\n") == 1


def test_another_system_is_used_where_it_is_named(
    up: UpWithCommands, key: str, workspace: Path
) -> None:
    """By its URL and a token, from any workspace."""
    publish(up, key, "hello")
    token = (up.workspace / "token").read_text().strip()
    environ = environment(TURNSTREAM_API_URL=up.url or "", TURNSTREAM_TOKEN=token)
    shown = turnstream("sessions", "show", key, "--json", workspace=workspace, environ=environ)
    assert shown.json()["total"] == 1
