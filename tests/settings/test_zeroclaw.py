"""ZeroClaw's configuration, read as ZeroClaw reads it: honoured, refused, or named."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from sessions.errors import ConfigError
from sessions.process.config.loading import Configuration, load_configuration
from sessions.process.config.notices import NoticeKind
from sessions.process.config.recognition import FileDialect
from tests.settings import zeroclaw_files
from tests.settings.zeroclaw_files import write


def read(folder: Path, text: str, **variables: str) -> Configuration:
    """The configuration of a file called as ZeroClaw's is."""
    return load_configuration(write(folder, text), variables)


def told(configuration: Configuration, kind: NoticeKind) -> dict[str, str]:
    """The notices of a kind, by what they are about."""
    return {one.where: one.text for one in configuration.notices if one.kind is kind}


def agent(more: str = "", provider: str = "") -> str:
    """A file with one agent that is asked through OpenAI."""
    return f"""
        schema_version = 3
        [agents.main]
        model_provider = "openai.default"
        channels = ["telegram.home", "slack.work", "discord.clamps", "webhook.ci"]
        {more}
        [providers.models.openai.default]
        model = "gpt-4o"
        {provider or 'api_key = "sk-x"'}
    """


# -- whose file it is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "beside", "dialect"),
    [
        ("config.toml", "", None, FileDialect.TURNSTREAM),
        ("config.toml", "[channels]\ndebounce_ms = 5", None, FileDialect.TURNSTREAM),
        ("turnstream.toml", "[gateway]\nrequire_pairing = true", None, FileDialect.TURNSTREAM),
        (
            "config.toml",
            '[turnstream]\ndialect = "turnstream"\n[gateway]\nrequire_pairing = true',
            None,
            FileDialect.TURNSTREAM,
        ),
        ("config.toml", agent(), None, FileDialect.ZEROCLAW),
        ("my.toml", f'{agent()}\n[turnstream]\ndialect = "zeroclaw"', None, FileDialect.ZEROCLAW),
        ("config.toml", '[agents.a]\nprovider = "echo"', ".secret_key", FileDialect.ZEROCLAW),
        (
            "config.toml",
            '[agents.a]\nprovider = "echo"',
            "sessions/sessions.db",
            FileDialect.ZEROCLAW,
        ),
    ],
)
def test_a_file_shows_whose_it_is(
    tmp_path: Path, name: str, text: str, beside: str | None, dialect: FileDialect
) -> None:
    """By what it says, or by its name with its sections or its place."""
    if beside is not None:
        (tmp_path / beside).parent.mkdir(exist_ok=True)
        (tmp_path / beside).touch()
    assert load_configuration(write(tmp_path, text, name=name), {}).dialect is dialect


def test_a_file_of_zeroclaws_under_another_name_is_noticed(tmp_path: Path) -> None:
    """Its agents would be `echo` otherwise, and nobody would know why."""
    found = load_configuration(write(tmp_path, agent(), name="my.toml"), {})
    assert 'dialect = "zeroclaw"' in told(found, NoticeKind.WARNING)["the settings file"]


def test_the_workspace_shows_it_too(tmp_path: Path) -> None:
    """The file may be anywhere if the sessions are ZeroClaw's."""
    workspace = tmp_path / ".zeroclaw"
    workspace.mkdir()
    path = write(tmp_path / "etc", '[agents.a]\nprovider = "echo"')
    assert load_configuration(path, {}).dialect is FileDialect.TURNSTREAM
    found = load_configuration(path, {}, workspace=workspace)
    assert found.dialect is FileDialect.ZEROCLAW


@pytest.mark.parametrize(
    ("written", "style"), [("", "zeroclaw"), ('key_style = "turnstream"', "turnstream")]
)
def test_its_sessions_are_continued_under_its_keys(
    tmp_path: Path, written: str, style: str
) -> None:
    """Unless the file says otherwise."""
    found = read(tmp_path, f"{agent()}\n[channels]\n{written}")
    assert found.settings.channels.key_style == style


# -- every key of the contract --------------------------------------------------------------------

# The section and key, a value that is not the default, and what our settings have then; None for a
# key that is named as having no effect.
KEYS: list[tuple[str, str, str, tuple[str, str, Any] | None]] = [
    ("channels", "session_persistence", "false", ("channels", "session_persistence", False)),
    ("channels", "session_backend", '"jsonl"', ("channels", "session_backend", "jsonl")),
    ("channels", "session_ttl_hours", "5", None),
    ("channels", "debounce_ms", "250", ("channels", "debounce_ms", 250)),
    ("channels", "message_timeout_secs", "90", ("channels", "message_timeout_secs", 90)),
    ("channels", "message_timeout_secs", "5", ("channels", "message_timeout_secs", 30)),
    ("channels", "max_concurrent_per_channel", "9", None),
    ("gateway", "session_persistence", "false", ("gateway", "session_persistence", False)),
    ("gateway", "session_ttl_hours", "7", ("channels", "session_ttl_hours", 7)),
    (
        "gateway",
        "websocket_ping_interval_secs",
        "11",
        ("gateway", "websocket_ping_interval_secs", 11),
    ),
    ("gateway", "request_timeout_secs", "12", ("turnstream", "request_timeout_secs", 12)),
    ("gateway", "require_pairing", "false", None),
    ("gateway", "port", "4000", ("gateway", "port", 4000)),
    ("gateway", "host", '"[::1]"', ("gateway", "host", "::1")),
    ("runtime_profiles.default", "max_history_messages", "20", None),
    ("runtime_profiles.default", "keep_tool_context_turns", "1", None),
]


@pytest.mark.parametrize(("section", "key", "value", "meant"), KEYS)
def test_every_key_of_the_contract_is_honoured_or_named(
    tmp_path: Path, section: str, key: str, value: str, meant: tuple[str, str, Any] | None
) -> None:
    """Each key of upstream's sessions, with a value of its own."""
    found = read(tmp_path, f"{agent()}\n[{section}]\n{key} = {value}")
    if meant is None:
        named = told(found, NoticeKind.NO_EFFECT)
        assert f"{section}.{key}" in named or key in named[section]
    else:
        ours, name, expected = meant
        assert getattr(getattr(found.settings, ours), name) == expected
        assert found.notices == ()


def test_the_keys_of_its_sessions_are_its_own_unless_the_file_says_otherwise(
    tmp_path: Path,
) -> None:
    """So what is imported goes on; our own settings may stand in its section."""
    assert read(tmp_path, agent()).settings.channels.key_style == "zeroclaw"
    own = 'key_style = "turnstream"\nreply_park_secs = 9'
    found = read(tmp_path, f"{agent()}\n[channels]\n{own}")
    assert found.settings.channels.key_style == "turnstream"
    assert found.settings.channels.reply_park_secs == 9
    assert found.notices == ()


def test_what_nothing_is_read_of_is_named_in_one_notice(tmp_path: Path) -> None:
    """A file has dozens of such sections."""
    found = read(tmp_path, f"{agent()}\n[cost]\nenabled = true\n[memory]\nbackend = 'sqlite'")
    assert [str(one) for one in found.notices] == [
        "the settings file: these sections have no effect here: [cost], [memory]"
    ]


# -- agents ---------------------------------------------------------------------------------------


def test_a_provider_becomes_an_openai_agent(tmp_path: Path) -> None:
    """With its address, model, key, headers and what else is sent."""
    own = 'temperature = 0.5\nextra_headers = { x-team = "a" }\nmax_tokens = 5\napi_key = "sk-y"'
    main = read(tmp_path, agent(provider=own)).settings.agents["main"]
    assert (main.provider, main.model, main.max_tokens) == ("openai", "gpt-4o", 5)
    assert main.base_url == "https://api.openai.com/v1"
    assert main.api_key is not None
    assert main.api_key.get_secret_value() == "sk-y"
    assert main.extra_headers == {"x-team": "a"}
    assert main.extra_body == {"temperature": 0.5}


@pytest.mark.parametrize(
    ("family", "own", "address"),
    [
        ("ollama", "", "http://localhost:11434/v1"),
        ("ollama", 'uri = "http://box:11434/api/chat"', "http://box:11434/v1"),
        ("moonshot", 'endpoint = "cn"', "https://api.moonshot.cn/v1"),
        ("custom", 'uri = "https://llm.example.org/v1"', "https://llm.example.org/v1"),
        (
            "anthropic",
            'kind = "openai-compatible"\nuri = "https://proxy/v1"',
            "https://proxy/v1",
        ),
    ],
)
def test_each_family_has_its_address(tmp_path: Path, family: str, own: str, address: str) -> None:
    text = agent(provider=own).replace("openai.default", f"{family}.default")
    assert read(tmp_path, text).settings.agents["main"].base_url == address


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (zeroclaw_files.OTHER_PROVIDER, "providers.models.anthropic.default is none"),
        (agent(provider="requires_openai_auth = true"), "with a key"),
        (agent().replace("models.openai.", "models.groq."), "names no [providers.models.openai"),
        (agent().replace('model_provider = "openai.default"', ""), "has no model_provider"),
        (agent().replace('model = "gpt-4o"', ""), "has no model"),
        (agent("enabled = false"), "no agent is enabled"),
        (agent().replace("= 3", "= 2"), "zeroclaw config migrate"),
        (agent().replace("= 3", "= 4"), "is newer than 3"),
        ('default_provider = "openai"\n[gateway]\nrequire_pairing = true', "config migrate"),
        (f"{agent()}\n[channels.telegram]\nbot_token = 'x'", "config migrate"),
        (f"{agent()}\n[gateway.tls]\nenabled = true", "put a proxy with TLS in front"),
        (f"{agent()}\n[channels]\ndebounce_ms = 'x'", "setting channels.debounce_ms"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(
    tmp_path: Path, text: str, says: str
) -> None:
    """No agent becomes `echo`, and nothing old is half understood."""
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, text)
    assert says in str(refused.value)


def test_the_refusal_says_what_to_write_and_that_works(tmp_path: Path) -> None:
    """Our own settings of an agent may stand in its table."""
    with pytest.raises(ConfigError, match=r'provider = "openai", base_url, model and api_key_env'):
        read(tmp_path, zeroclaw_files.OTHER_PROVIDER)
    own = 'provider = "openai"\nbase_url = "http://x/v1"\nmodel = "m"\n[peer_groups.a]'
    main = read(tmp_path, f"{zeroclaw_files.OTHER_PROVIDER}\n{own}").settings.agents["main"]
    assert (main.base_url, main.model) == ("http://x/v1", "m")


@pytest.mark.parametrize("secret", ["enc2:00ff", "enc:00ff", "op://vault/item"])
def test_a_secret_that_only_zeroclaw_can_read_is_refused_with_its_variable(
    tmp_path: Path, secret: str
) -> None:
    """The variable is ZeroClaw's own, so that both take it."""
    text = agent(provider=f'api_key = "{secret}"')
    variable = "ZEROCLAW_providers__models__openai__default__api_key"
    with pytest.raises(ConfigError, match=variable):
        read(tmp_path, text)
    main = read(tmp_path, text, **{variable: "sk-z"}).settings.agents["main"]
    assert main.api_key is not None
    assert main.api_key.get_secret_value() == "sk-z"


@pytest.mark.parametrize(
    "profile",
    ['level = "readonly"', 'allowed_tools = ["shell"]', 'excluded_tools = ["sessions_send"]'],
)
def test_a_risk_profile_keeps_the_session_tools_away(tmp_path: Path, profile: str) -> None:
    """Nobody may do more here than in ZeroClaw."""
    text = agent('risk_profile = "careful"') + f"\n[risk_profiles.careful]\n{profile}"
    found = read(tmp_path, text)
    assert not found.settings.agents["main"].tools
    assert "no session tools" in told(found, NoticeKind.WARNING)["agents.main"]
    assert read(tmp_path, agent()).settings.agents["main"].tools


# -- channels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('[channels.telegram.home]\nbot_token = "1:a"', None),
        ("[channels.telegram.home]\nenabled = false\nbot_token = ''\ndebounce_ms = 99999", None),
        ('[channels.telegram.other]\nenabled = true\nbot_token = "1:a"', "no agent"),
        (
            '[channels.telegram.home]\nenabled = true\nbot_token = "1:a"\nmention_only = true',
            "mention_only",
        ),
        (
            '[channels.telegram.home]\nenabled = true\nexcluded_tools = ["sessions_send"]',
            "excluded_tools",
        ),
        ("[channels.webhook.ci]\nenabled = true", "no secret"),
        ("[channels.matrix.kitchen]\nenabled = true", "no such type"),
    ],
)
def test_what_zeroclaw_would_not_serve_is_off(tmp_path: Path, table: str, why: str | None) -> None:
    """And so is what would be more open here; the reason is told."""
    found = read(tmp_path, f"{agent()}\n{table}")
    on = [
        channel
        for aliases in found.settings.channels.kinds.values()
        for channel in aliases.values()
        if channel.enabled
    ]
    assert on == []
    off = [*told(found, NoticeKind.OFF).values()]
    assert [why in text for text in off] == [True] if why is not None else off == []


@pytest.mark.parametrize(
    ("kind", "peers", "allowed", "warns"),
    [
        ("telegram", '["@alice", " 42 "]', ("alice", "42"), False),
        ("telegram", '["*"]', ("*",), False),
        ("telegram", "[]", (), True),
        ("discord", '["600", "alice"]', ("600",), True),
        ("slack", '["U012AB3CD", "alice"]', ("U012AB3CD",), True),
    ],
)
def test_peer_groups_say_who_may_write(
    tmp_path: Path, kind: str, peers: str, allowed: tuple[str, ...], warns: bool
) -> None:
    """Of the platform's names only those count by which ZeroClaw knows people."""
    alias = {"telegram": "home", "discord": "clamps", "slack": "work"}[kind]
    text = f"""{agent()}
        [channels.{kind}.{alias}]
        enabled = true
        allowed_users = ["mallory"]
        [peer_groups.here]
        channel = "{kind}.{alias}"
        external_peers = {peers}
        [peer_groups.elsewhere]
        channel = "{kind}.other"
        external_peers = ["9", "U9"]
    """
    found = read(tmp_path, text)
    [channel] = [aliases[alias] for aliases in found.settings.channels.kinds.values() if aliases]
    assert channel.model_dump()["allowed_users"] == allowed
    where = f"channels.{kind}.{alias}"
    assert "allowed_users" in told(found, NoticeKind.NO_EFFECT)[where]
    assert (where in told(found, NoticeKind.WARNING)) is warns


def test_an_encrypted_token_is_refused_only_if_the_channel_is_on(tmp_path: Path) -> None:
    """The sentence names both ways to give it."""
    off = f'{agent()}\n[channels.telegram.home]\nbot_token = "enc2:00"'
    assert not read(tmp_path, off).settings.channels.telegram["home"].enabled
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, f"{off}\nenabled = true")
    assert "ZEROCLAW_channels__telegram__home__bot_token" in str(refused.value)
    assert "bot_token_env" in str(refused.value)
    on = read(tmp_path, f'{off}\nenabled = true\nbot_token_env = "BOT"').settings.channels
    assert (on.telegram["home"].bot_token, on.telegram["home"].bot_token_env) == (None, "BOT")


def test_slack_takes_its_tokens_from_zeroclaws_variables(tmp_path: Path) -> None:
    """The file may have none."""
    text = f"{agent()}\n[channels.slack.work]\nenabled = true"
    own = read(tmp_path, text, SLACK_BOT_TOKEN="xoxb-1", ZEROCLAW_SLACK_APP_TOKEN="xapp-1")
    slack = own.settings.channels.slack["work"]
    assert (slack.bot_token_env, slack.app_token_env) == (
        "SLACK_BOT_TOKEN",
        "ZEROCLAW_SLACK_APP_TOKEN",
    )


def test_zeroclaws_variables_set_what_the_file_does_not(tmp_path: Path) -> None:
    """Numbers, truths and lists are understood; ours have the last word."""
    found = read(
        tmp_path,
        agent(),
        ZEROCLAW_gateway__port="4001",
        ZEROCLAW_gateway__host="127.0.0.2",
        ZEROCLAW_channels__session_persistence="false",
        TURNSTREAM_HOST="127.0.0.3",
    ).settings
    assert (found.gateway.port, found.gateway.host) == (4001, "127.0.0.3")
    assert not found.channels.session_persistence


def test_all_examples_are_toml(tmp_path: Path) -> None:
    """What the process tests start is what people could have."""
    for text in zeroclaw_files.FILES.values():
        assert tomllib.loads(write(tmp_path, text).read_text(encoding="utf-8"))["agents"]
