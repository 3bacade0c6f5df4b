"""Bytes to plain documents: what each format means, and that nothing but PolicyError comes of anything else."""

from __future__ import annotations

import json
import math
import re

import msgpack
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from controller.errors import PolicyError, Problem
from controller.policy import yaml_text
from controller.policy.parse import MEDIA_TYPES, parse_document

JSON, YAML, MSGPACK = "application/json", "application/yaml", "application/msgpack"


def problems_of(body: str | bytes, media_type: str | None) -> tuple[Problem, ...]:
    with pytest.raises(PolicyError) as caught:
        parse_document(body.encode() if isinstance(body, str) else body, media_type)
    return caught.value.problems


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of PyYAML's parsers must give the same documents."""
    chosen = yaml.cyaml.CParser if request.param == "libyaml" else yaml.SafeLoader
    monkeypatch.setattr(yaml_text, "_Parser", chosen)


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("52:54:00:56:44:32", "52:54:00:56:44:32"),
        ("02:00:00:00:00:01", "02:00:00:00:00:01"),
        ("10:20", "10:20"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("2024-01-01", "2024-01-01"),
        ("0000000000000010", "0000000000000010"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        (".5", ".5"),
        ("=", "="),
        ("2001:db8::1", "2001:db8::1"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("10", 10),
        ("-3", -3),
        ("+0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ('"10"', "10"),
        ("'true'", "true"),
        ("!!str 10", "10"),
        ("! 10", "10"),
        ("|\n  10\n", "10\n"),
    ],
)
def test_yaml_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    found = parse_document(f"k: {text}".encode(), YAML)["k"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.usefixtures("parser")
def test_yaml_key_written_twice_names_both_lines() -> None:
    assert problems_of("a:\n  b: 1\n  c: 2\n  'b': 3\n", YAML) == (
        Problem("/a/b", "the key 'b' is written twice, in line 2 and in line 4", "keep one of them"),
    )


def test_json_key_written_twice_names_both_lines_and_only_those() -> None:
    text = '{"a": [{"x": 1}, {"x": 1,\n "y": ",{}", \n"\\u0078": 2}],\n"b": {"x": 1}, "c": ["x", "x"]}'
    assert problems_of(text, JSON) == (
        Problem("/a/1/x", "the key 'x' is written twice, in line 1 and in line 3", "keep one of them"),
    )


def test_msgpack_key_written_twice_has_its_path() -> None:
    assert [p.path for p in problems_of(b"\x81\xa1n\x82\xa1a\x01\xa1a\x02", MSGPACK)] == ["/n/a"]


@pytest.mark.usefixtures("parser")
def test_yaml_syntax_error_names_line_and_column() -> None:
    (problem,) = problems_of("a: 1\nb: c: d\n", YAML)
    assert problem.path == ""
    assert problem.message.startswith("not YAML in line 2, column 5: ")


@pytest.mark.usefixtures("parser")
def test_tab_and_colons_get_a_hint() -> None:
    assert problems_of("a:\n\tb: 1\n", YAML)[0].hint == "indent with blanks, not with tabs"
    assert "'::' in quotes" in problems_of("a: 2001:db8::\n", YAML)[0].hint


@pytest.mark.usefixtures("parser")
def test_control_character_names_line_and_column() -> None:
    (problem,) = problems_of("a: 1\nb: é\x00", YAML)
    assert problem.message == "not YAML in line 2, column 5: '\\x00' is not a character that YAML allows"


def test_json_syntax_error_names_line_and_column() -> None:
    assert problems_of('{"a":\n 1 x}', JSON)[0].message.startswith("not JSON in line 2, column 4: ")


def test_text_that_is_not_utf8_names_line_and_byte() -> None:
    (problem,) = problems_of(b"a: 1\nb: \xff", YAML)
    assert problem.message == "the byte 0xff in line 2, byte 4 is not UTF-8 text"


@pytest.mark.usefixtures("parser")
def test_yaml_keys_that_are_not_strings_are_told_all_at_once_with_quotes_as_hint() -> None:
    found = problems_of("networks:\n  10: {true: 1}\n  ~: 2\n  ? [x]\n  : {1: 2}\n", YAML)
    assert [(p.path, p.hint) for p in found[:3]] == [
        ("/networks/10", 'put it in quotes: "10"'),
        ("/networks/?/true", 'put it in quotes: "true"'),
        ("/networks/~0", 'put it in quotes: "~"'),
    ]
    assert len(found) == 5


@pytest.mark.parametrize("key", [1, 1.5, True, None, b"k"])
def test_msgpack_keys_that_are_not_strings_are_problems(key: object) -> None:
    (problem,) = problems_of(msgpack.packb({"a": {key: 1}}), MSGPACK)
    assert problem.path.startswith("/a/")
    assert "is not a string" in problem.message


def test_msgpack_keys_that_are_containers_are_problems() -> None:
    assert problems_of(b"\x81\xa1a\x82\x80\x01\x90\x01", MSGPACK)[0].path == "/a"


@pytest.mark.usefixtures("parser")
def test_aliases_stand_for_what_they_name() -> None:
    assert parse_document(b"a: &x {b: [1]}\nc: *x\nd: [*x, &y z, *y]\n", YAML) == {
        "a": {"b": [1]},
        "c": {"b": [1]},
        "d": [{"b": [1]}, "z", "z"],
    }


@pytest.mark.usefixtures("parser")
def test_billion_laughs_are_refused() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    (problem,) = problems_of("\n".join(lines), YAML)
    assert "stand for more than 100000 values" in problem.message


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *x", "the alias *x in line 1 names no anchor before it"),
        ("a: &x [*x]", "the alias *x in line 1 stands inside what it names"),
        ("---\na: 1\n---\nb: 2", "a second document begins in line 3"),
    ],
)
def test_yaml_that_makes_no_document_is_refused(text: str, message: str) -> None:
    # The parser in Python refuses an unknown alias in its composer, which is not used here.
    assert problems_of(text, YAML)[0].message == message


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("text", ["a: !!python/object:os.system x", "a: !x {}", "a: !!int 3", "<<: {a: 1}"])
def test_tags_and_merge_keys_are_refused(text: str) -> None:
    assert problems_of(text, YAML)[0].path in ("/a", "/<<")


def test_aliases_cannot_nest_deeper_than_text_could() -> None:
    lines = ["a0: &a0 [[[[[[[[[[x]]]]]]]]]]"] + [f"a{i}: &a{i} [[[[[[[[[[*a{i - 1}]]]]]]]]]]" for i in range(1, 60)]
    assert any("more than 32 deep" in p.message for p in problems_of("\n".join(lines), YAML))


@pytest.mark.parametrize("depth", [33, 200, 100_000])
def test_deep_nesting_is_refused_in_every_format(depth: int) -> None:
    lists = "[" * depth + "]" * depth
    packed = b"\x81\xa1a" + b"\x91" * depth + b"\xc0"
    for body, media_type in (
        (f'{{"a":{lists}}}', JSON),
        (f"a: {lists}", YAML),
        ("- " * depth, YAML),
        (packed, MSGPACK),
    ):
        assert "more than 32 deep" in problems_of(body, media_type)[0].message


def test_nesting_of_32_levels_is_read_in_every_format() -> None:
    lists = "[" * 31 + "]" * 31
    value = json.loads(f'{{"a":{lists}}}')
    assert parse_document(f'{{"a":{lists}}}'.encode(), JSON) == value
    assert parse_document(f"a: {lists}".encode(), YAML) == value
    assert parse_document(msgpack.packb(value), MSGPACK) == value


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ('{"a": [NaN]}', JSON),
        ('{"a": [-Infinity]}', JSON),
        ('{"a": [1e999]}', JSON),
        ("a: [.nan]", YAML),
        ("a: [-.INF]", YAML),
        ("a: [1e999]", YAML),
        (msgpack.packb({"a": [math.inf]}), MSGPACK),
    ],
)
def test_numbers_that_are_not_finite_are_refused(body: str | bytes, media_type: str) -> None:
    (problem,) = problems_of(body, media_type)
    assert problem.path == "/a/0"
    assert "finite" in problem.message


def test_numbers_of_thousands_of_digits_are_refused() -> None:
    for body, media_type in ((f'{{"a": {"1" * 5000}}}', JSON), (f"a: {'1' * 5000}", YAML)):
        assert "thousands of digits" in problems_of(body, media_type)[0].message


def test_half_a_surrogate_pair_is_refused_and_its_message_can_be_written() -> None:
    for problem in problems_of('{"a\\ud800": {"b": "\\udc00"}}', JSON):
        assert str(problem).encode()


@pytest.mark.parametrize("value", [b"bytes", msgpack.ExtType(5, b"x"), msgpack.Timestamp(1)])
def test_msgpack_types_that_no_document_has_are_refused(value: object) -> None:
    assert problems_of(msgpack.packb({"a": value}), MSGPACK)[0].path == "/a"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [("", None), ("", YAML), ("# nothing", YAML), ("[]", JSON), ("null", JSON), ("3", JSON), (b"\x90", MSGPACK)],
)
def test_what_is_no_mapping_is_no_document(body: str | bytes, media_type: str | None) -> None:
    (problem,) = problems_of(body, media_type)
    assert problem.path == ""
    assert problem.message.startswith("the document is ")


@pytest.mark.parametrize(
    "body", [b"\x81", b"\xdf\xff\xff\xff\xff", b"\x81\xa1a", b"\xc1", b"\x80x", b"\x81\xa1\xff\x01"]
)
def test_broken_msgpack_is_refused(body: bytes) -> None:
    assert problems_of(body, MSGPACK)[0].message.startswith("not msgpack: ")


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain; charset=utf-8", "application/x-www-form-urlencoded", "application/octet-stream"],
)
def test_the_bytes_decide_where_the_media_type_does_not(media_type: str | None) -> None:
    for body in (
        b'{"a": [1]}',
        b"\xef\xbb\xbf {a: [1]}",
        b"a: [1]",
        msgpack.packb({"a": [1]}),
        b"\xdf\0\0\0\x01\xa1a\x91\x01",
    ):
        assert parse_document(body, media_type) == {"a": [1]}


def test_media_types_tolerate_case_and_parameters() -> None:
    assert parse_document(b'{"a": 1}', "Application/JSON; charset=utf-8") == {"a": 1}
    assert "'image/png'" in problems_of("a: 1", "image/png")[0].message


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
@example({"a": "\x85 \u2028", "\x00": 1e300})
def test_a_plain_document_survives_every_format(document: dict[str, object]) -> None:
    assert parse_document(json.dumps(document).encode(), JSON) == document
    assert parse_document(json.dumps(document, ensure_ascii=False).encode(), JSON) == document
    assert parse_document(msgpack.packb(document), MSGPACK) == document


# PyYAML writes YAML 1.1, which has no numbers like 0E0; whatever else is special here it quotes.
TEXTS = st.text().filter(lambda text: not re.fullmatch(r"[-+]?[0-9]+(\.[0-9]+)?[eE][-+]?[0-9]+", text))


@given(st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.none(), max_size=4))
def test_what_pyyaml_writes_is_read_back(document: dict[str, object]) -> None:
    for style in (False, True):
        text = yaml.dump(document, Dumper=yaml.CSafeDumper, default_flow_style=style, allow_unicode=True)
        assert parse_document(text.encode(), YAML) == document


def messages_of(body: bytes, media_type: str | None) -> str:
    """All that is wrong with a body, "" if it is a document. Any exception but PolicyError fails the test."""
    try:
        parse_document(body, media_type)
    except PolicyError as error:
        return str(error)
    return ""


@given(
    st.binary() | st.text(alphabet="{}[]:,&*!?|>-'\"# \n\ta1~<").map(str.encode),
    st.sampled_from([None, *sorted(MEDIA_TYPES)]),
)
def test_no_bytes_raise_anything_but_policy_error(body: bytes, media_type: str | None) -> None:
    assert isinstance(messages_of(body, media_type).encode(), bytes)


@given(st.binary(max_size=40).map(lambda tail: b"\x83\xa1a" + tail))
def test_no_msgpack_raises_anything_but_policy_error(body: bytes) -> None:
    assert isinstance(messages_of(body, MSGPACK).encode(), bytes)


@pytest.mark.parametrize("media_type", ["application/json", "application/yaml", "application/msgpack"])
def test_a_key_has_at_most_255_characters(media_type: str) -> None:
    """Or a body of a megabyte would have problems of a gigabyte, each with the key in its path."""

    def written(key: str) -> bytes:
        document = {"networks": {key: {"vlan": 1}}}
        return msgpack.packb(document) if media_type.endswith("msgpack") else json.dumps(document).encode()

    assert parse_document(written("a" * 255), media_type)
    with pytest.raises(PolicyError, match="has 256 characters"):
        parse_document(written("a" * 256), media_type)
