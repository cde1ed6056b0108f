"""Configurations as people have them for ZeroClaw, schema version 3."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MINIMAL: Final = """
schema_version = 3

[providers.models.ollama.default]
model = "llama3.2"
uri = "http://host.docker.internal:11434"
temperature = 0.7

[agents.default]
enabled = true
model_provider = "ollama.default"
risk_profile = "default"
runtime_profile = "default"

[agents.default.workspace]
path = "/zeroclaw-data/workspace"

[risk_profiles.default]

[runtime_profiles.default]

[gateway]
port = 42617
host = "127.0.0.1"
require_pairing = false
web_dist_dir = "/usr/share/zeroclawlabs/web/dist"
websocket_ping_interval_secs = 30

[cost]
enabled = false
daily_limit_usd = 10.0
"""

SEVERAL_AGENTS: Final = """
schema_version = 3
locale = "de"

[providers.models.openai.work]
model = "gpt-4o"
api_key = "sk-work"
wire_api = "responses"

[providers.models.groq.fast]
model = "llama-3.3-70b-versatile"
api_key = "gsk-fast"
max_tokens = 900
fallback = ["openai.work"]

[agents.ada]
model_provider = "openai.work"
risk_profile = "default"
runtime_profile = "long"
channels = ["telegram.home"]

[agents.bob]
model_provider = "groq.fast"
risk_profile = "careful"
runtime_profile = "long"

[agents.old]
enabled = false
model_provider = "anthropic.gone"

[risk_profiles.default]
level = "supervised"

[risk_profiles.careful]
level = "readonly"

[runtime_profiles.long]
max_history_messages = 100
keep_tool_context_turns = 2

[channels]
session_backend = "sqlite"
message_timeout_secs = 60
max_concurrent_per_channel = 8

[channels.telegram.home]
enabled = true
bot_token = "1:home"
api_base_url = "{telegram}"
stream_mode = "partial"

[memory]
backend = "sqlite"
"""

PEER_GROUPS: Final = """
schema_version = 3

[providers.models.openrouter.default]
model = "openai/gpt-4o"
api_key = "sk-or"

[agents.main]
model_provider = "openrouter.default"
risk_profile = "default"
runtime_profile = "default"
channels = ["telegram.home", "telegram.work"]

[channels.telegram.home]
enabled = true
bot_token = "1:home"
api_base_url = "{telegram}"
debounce_ms = 90000

[channels.telegram.work]
enabled = true
bot_token = "2:work"
api_base_url = "{telegram}"

[peer_groups.family]
channel = "telegram.home"
agents = ["main"]
external_peers = ["@alice", "42", "mallory"]
ignore = ["@mallory"]

[peer_groups.everywhere]
channel = "telegram"
external_peers = ["@carol"]
"""

DISABLED_CHANNELS: Final = """
schema_version = 3

[providers.models.openai.default]
model = "gpt-4o"
api_key = "sk-x"

[agents.main]
model_provider = "openai.default"
risk_profile = "default"
runtime_profile = "default"
channels = ["telegram.home", "telegram.spare", "discord.clamps"]

[channels]
session_ttl_hours = 48

[channels.telegram.home]
bot_token = "1:home"
api_base_url = "{telegram}"

[channels.telegram.spare]
enabled = false
bot_token = ""
api_base_url = "{telegram}"
debounce_ms = 90000

[channels.telegram.nobodys]
enabled = true
bot_token = "3:nobodys"
api_base_url = "{telegram}"

[channels.discord.clamps]
enabled = false
bot_token = ""

[channels.matrix.kitchen]
enabled = true
homeserver = "https://matrix.example.org"
access_token = "syt_x"

[gateway]
session_ttl_hours = 720
"""

WEBHOOK_WITHOUT_SECRET: Final = """
schema_version = 3

[providers.models.deepseek.default]
model = "deepseek-chat"
api_key = "sk-deep"

[agents.main]
model_provider = "deepseek.default"
risk_profile = "default"
runtime_profile = "default"
channels = ["webhook.ci", "webhook.shop"]

[channels.webhook.ci]
enabled = true
port = 8090
listen_path = "/hook"

[channels.webhook.shop]
enabled = true
port = 8091
secret = "0123456789abcdef0123456789abcdef"
auth_header = "Bearer x"
"""

OTHER_PROVIDER: Final = """
schema_version = 3

[providers.models.anthropic.default]
model = "claude-sonnet-4-5"
api_key = "sk-ant"

[agents.main]
model_provider = "anthropic.default"
risk_profile = "default"
runtime_profile = "default"
"""

FILES: Final = {
    "minimal": MINIMAL,
    "several agents": SEVERAL_AGENTS,
    "peer groups": PEER_GROUPS,
    "disabled channels": DISABLED_CHANNELS,
    "webhook without secret": WEBHOOK_WITHOUT_SECRET,
    "another provider": OTHER_PROVIDER,
}


def write(folder: Path, text: str, *, name: str = "config.toml", telegram: str = "") -> Path:
    """The file in a folder; `telegram` is where its bots find the Bot API."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text.replace("{telegram}", telegram or "http://127.0.0.1:1"), encoding="utf-8")
    path.chmod(0o600)
    return path
