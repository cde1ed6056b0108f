"""Whatever a provider sends becomes clean and checked types, and no text is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.agents.calls import read_arguments
from ingest.agents.events import AnswerTooLarge, JsonEventParser
from ingest.agents.normalise import Normaliser
from tests.ingest.chunks import json_values, streams, texts
from tests.ingest.normalised import ROOM, check, read

# Sequences that are tried; tests/endurance tries more of them.
FEW = settings(max_examples=300, deadline=None)


@FEW
@given(streams())
def test_any_sequence_of_chunks_becomes_clean_types(chunks: list[Any]):
    check(chunks)


@FEW
@given(st.lists(texts), st.data())
def test_a_text_is_the_same_however_it_is_cut_into_chunks(parts: list[str], data: st.DataObject):
    def spoken(pieces: list[str]) -> str:
        return read([{"choices": [{"delta": {"content": each}}]} for each in pieces])[1]

    text = "".join(parts)
    at = data.draw(st.integers(0, len(text)))
    assert spoken(parts) == spoken([text]) == spoken([text[:at], text[at:]]) == spoken([*text])


@FEW
@given(st.lists(json_values), st.data())
def test_a_body_is_read_the_same_however_it_is_cut_into_pieces(
    values: list[Any], data: st.DataObject
):
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    indent = data.draw(st.sampled_from([None, 1]))
    lines = (json.dumps(value, indent=indent).splitlines() for value in values)
    body = "".join(f"data: {f'{end}data: '.join(each)}{end}{end}" for each in lines).encode()
    at = data.draw(st.integers(0, len(body)))
    whole, parts = JsonEventParser(), JsonEventParser()
    expected = [*whole.feed(body), *whole.close()]
    found = [*parts.feed(body[:at]), *parts.feed(body[at:]), *parts.close()]
    objects = [value for value in values if isinstance(value, dict | list)]
    assert json.dumps(found) == json.dumps(expected) == json.dumps(objects)


@FEW
@given(st.binary(max_size=200))
def test_any_bytes_are_a_body(body: bytes):
    events = JsonEventParser()
    for value in (*events.feed(body), *events.close()):
        Normaliser(ROOM).add_chunk(value)


@pytest.mark.parametrize("piece", [b"x" * 70_000, b"x" * 70_000 + b"\n", b"data: {\n" * 10_000])
def test_a_body_without_any_end_is_refused(piece: bytes):
    events = JsonEventParser()
    with pytest.raises(AnswerTooLarge):
        assert not [value for _ in range(100) for value in events.feed(piece)]


@FEW
@given(texts | st.from_type(str) | json_values.map(json.dumps))
def test_any_arguments_are_one_object_or_a_sentence(text: str):
    arguments, problem = read_arguments(text.encode("utf-8", "replace").decode())
    assert isinstance(json.loads(arguments), dict)
    assert problem is None or arguments == "{}"


def test_an_answer_is_cut_at_its_room_and_says_so():
    answer, shown = read([{"choices": [{"delta": {"content": "é" * 400}}]}] * 3)
    assert (len(shown.encode()), answer.text, answer.is_cut) == (ROOM, shown, True)
