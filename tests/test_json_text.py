"""JSON that anybody may have written."""

import pytest

from unetkit.json_text import parse_json


@pytest.mark.parametrize("text", ["[" * 200 + "]" * 200, '{"a":' * 100_000 + "1" + "}" * 100_000])
def test_nesting_is_bounded(text: str) -> None:
    with pytest.raises(ValueError, match="nested more than 100 levels deep"):
        parse_json(text)


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe[", "nul"])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_what_is_json_is_read_to_the_deepest_level() -> None:
    value: object = 1.5
    for i in range(49):
        value = {"a": [value, None, "x", True]} if i % 2 else [value]
    from json import dumps

    assert parse_json(dumps(value)) == value
    assert parse_json(b'"\xc3\xa9"') == "é"
