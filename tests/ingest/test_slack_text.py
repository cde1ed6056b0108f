"""What is read of Slack's texts, and how a model's Markdown is written in its mrkdwn."""

from __future__ import annotations

import pytest

from ingest.channels.slack.text import is_mentioned, mrkdwn, plain, without_mention


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a &lt;b&gt; &amp;amp; c", "a <b> &amp; c"),
        ("<https://example.org/?a=1&amp;b=2>", "https://example.org/?a=1&b=2"),
        ("<https://example.org|the page>", "the page (https://example.org)"),
        ("<mailto:ada@example.org|ada@example.org>", "ada@example.org"),
        ("<#C1|general> <#C2>", "#general <#C2>"),
        ("<@U1> <@U2|ada>", "<@U1> @ada"),
        ("<!here> <!subteam^S1|@cooks>", "@here @cooks"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
    ],
)
def test_what_a_person_wrote_is_read_without_escapes(written: str, read: str):
    assert plain(written) == read


def test_only_the_mention_that_begins_a_text_is_left_out():
    assert without_mention(" <@U1>: hello <@U1>", "U1") == "hello <@U1>"
    assert without_mention("<@U1|bot> /new", "U1") == "/new"
    assert without_mention("<@U12> hello", "U1") == "<@U12> hello"
    assert is_mentioned("hello <@U1>", "U1")
    assert not is_mentioned("hello <@U12>", "U1")


@pytest.mark.parametrize(
    ("markdown", "shown"),
    [
        ("**bold** and *italic* and ~~struck~~", "*bold* and _italic_ and ~struck~"),
        ("__bold__ snake_case_name 2*3*4", "*bold* snake_case_name 2*3*4"),
        ("## A **heading** ##\ntext", "*A heading*\ntext"),
        ("* one\n- two\n  + three", "• one\n• two\n  • three"),
        ("[page](https://example.org/a_b) ![i](https://example.org/i.png)", None),
        ("`**a** <b>`", "`**a** &lt;b&gt;`"),
        ("```python\n**x** & y\n```\n**z**", "```\n**x** &amp; y\n```\n*z*"),
        ("```\nnever closed **x**", "```\nnever closed **x**"),
        ("<!channel> <@U1> & more", "&lt;!channel&gt; &lt;@U1&gt; &amp; more"),
        ("[click](javascript:x)", "[click](javascript:x)"),
    ],
)
def test_a_models_markdown_is_shown_as_it_is_meant(markdown: str, shown: str | None):
    if shown is None:
        shown = "<https://example.org/a_b|page> <https://example.org/i.png|i>"
    assert mrkdwn(markdown) == shown
