"""What a Telegram message says beside its text: whom it quotes, and whose words are forwarded.

The forms are upstream's, so that agents know them and imported histories look the same.
"""

from __future__ import annotations

from telegram import (
    Chat,
    ExternalReplyInfo,
    Message,
    MessageOrigin,
    MessageOriginChannel,
    MessageOriginChat,
    MessageOriginHiddenUser,
    MessageOriginUser,
    User,
)

from ingest.channels.quoting import quoted


def with_context(message: Message, text: str) -> str:
    """The text with what it answers to before it, and where it was forwarded from before that."""
    quote = _quoted(message)
    said = f"{quote}\n\n{text}" if quote else text
    if message.forward_origin is None:
        return said
    gap = "\n\n" if quote else " "
    return f"[Forwarded from {_origin(message.forward_origin)}]{gap}{said}"


def _quoted(message: Message) -> str:
    """The message that this one is a reply to, as quoted lines; empty if it is none."""
    reply, elsewhere = message.reply_to_message, message.external_reply
    if reply is not None and not _is_root(message, reply):
        return quoted(_short_name(reply.from_user), reply.text or _kind(reply))
    if elsewhere is not None:
        # Of a message in another chat only the part that the person marked is told.
        marked = message.quote.text if message.quote is not None else _kind(elsewhere)
        return quoted(_origin(elsewhere.origin).removeprefix("@"), marked)
    return ""


def _is_root(message: Message, reply: Message) -> bool:
    """Whether Telegram has put the reply there: each message of a topic answers its beginning."""
    return bool(message.is_topic_message) and reply.message_id == message.message_thread_id


def _kind(message: Message | ExternalReplyInfo) -> str:
    """What stands for a message without text."""
    kinds = {
        "[Voice message]": message.voice or message.audio,
        "[Photo]": message.photo,
        "[Document]": message.document,
        "[Video]": message.video,
        "[Sticker]": message.sticker,
    }
    return next((name for name, content in kinds.items() if content), "[Message]")


def _origin(origin: MessageOrigin) -> str:
    match origin:
        case MessageOriginUser():
            return _long_name(origin.sender_user)
        case MessageOriginHiddenUser():
            return origin.sender_user_name
        case MessageOriginChat():
            return f"chat: {_title(origin.sender_chat)}"
        case MessageOriginChannel():
            return f"channel: {_title(origin.chat)}"
        case _:
            return "unknown source"


def _title(chat: Chat) -> str:
    return chat.title or ("unknown channel" if chat.type == Chat.CHANNEL else "unknown chat")


def _short_name(user: User | None) -> str:
    return "unknown" if user is None else user.username or user.first_name


def _long_name(user: User) -> str:
    return f"@{user.username}" if user.username else user.full_name
