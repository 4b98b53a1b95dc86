"""Names from files are printed without control characters."""

from benchkit.base.text import printable, printable_tree


def test_control_characters_become_escapes() -> None:
    assert printable("a\x1b[2J\x07\x9bé ü漢🙂") == r"a\x1b[2J\x07\x9bé ü漢🙂"
    assert printable("one\ntwo\t\x00\x7f") == r"one\ntwo\t\x00\x7f"
    assert printable("one\ntwo\x1b", keep="\n") == "one\ntwo\\x1b"
    assert printable("\udc80 \u202egpj \u2028") == r"\udc80 \u202egpj \u2028"
    assert printable("e\u0301 \u200d \ue000 \xa0") == "e\u0301 \u200d \ue000 \xa0"


def test_trees_keep_their_numbers_and_shape() -> None:
    tree = {"a\x1b": ["b\x1b", 1, None, {"c": ("\x07", 2.5)}], "d": True}
    assert printable_tree(tree) == {
        r"a\x1b": [r"b\x1b", 1, None, {"c": [r"\x07", 2.5]}],
        "d": True,
    }
