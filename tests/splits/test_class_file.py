import re

import pytest

from splits import class_file
from splits.errors import InputError


@pytest.fixture
def write(tmp_path):
    def make(text, name="numbers.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "cat,3\ndog,4\n"),
        ("a.csv", "class,count\r\ndog,4\r\n\r\n cat , 3 \r\n"),
        ("a.txt", '\ufeff"cat",3\n"dog",4.0\n'),
        ("a.json", '{"dog": 4,\n "cat": 3}'),
        ("a.json", '{"cat": "3", "dog": 4e0}'),
    ],
)
def test_formats(write, name, text):
    numbers = class_file.read(write(text, name), whole_numbers=True)
    assert numbers.of(["cat", "dog"]).tolist() == [3, 4]
    assert numbers.of(["dog", "cat"]).tolist() == [4, 3]


def test_names_may_need_quotes(write):
    numbers = class_file.read(write('"cup, paper",0.25\n"1",1\n'), whole_numbers=False)
    assert numbers.of(["1", "cup, paper"]).tolist() == [1, 0.25]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "names no class"),
        ("a.csv", "class,count\n", "names no class"),
        ("a.csv", "cat,3\ndog\n", "line 2: a line must be `name,number`, not 1 cells"),
        ("a.csv", "cat,3\ndog,4,5\n", "line 2: a line must be `name,number`, not 3 cells"),
        ("a.csv", "cat,3\ndog,many\n", "line 2: class 'dog' needs a whole number >= 0, not 'many'"),
        ("a.csv", "cat,3\n\ndog,-1\n", "line 3: class 'dog' needs a whole number >= 0, not '-1'"),
        ("a.csv", "cat,3.5\n", "line 1: class 'cat' needs a whole number >= 0, not '3.5'"),
        ("a.csv", "cat,nan\ndog,1", "line 1: class 'cat' needs a whole number"),
        ("a.csv", "cat,1e30\n", "line 1: class 'cat' needs a whole number >= 0, not '1e30'"),
        ("a.csv", "dog,1\ncat,inf\n", "line 2: class 'cat' needs a whole number"),
        ("a.csv", "cat,3\ndog,4\ncat,3\n", "line 3: class 'cat' occurs twice"),
        ("a.csv", ",3\n", "line 1: the name of the class is empty"),
        ("a.csv", b"caf\xe9,3\n", "not a text file in UTF-8"),
        ("a.csv", 'cat,"3\n', "line 1: this is not CSV: a quoted cell does not end"),
        (
            "a.json",
            '{"cat": 3,\n "dog": }',
            "this is not JSON, or it is truncated, from line 2, column 9 on",
        ),
        ("a.json", '{"cat": 3,\n "dog": true}', "line 2: class 'dog' needs .* not true"),
        ("a.json", '{"cat": 3,\n "cat": 3}', "line 2: class 'cat' occurs twice"),
        ("a.json", '{"caf\\u00e9": 3,\n\n "dog": null}', "line 3: class 'dog' needs"),
        ("a.json", '{"cat": {"a": 1}}', "class 'cat' needs"),
        ("a.JSON", '{"cat": 1,\n "dog": -1}', "line 2: class 'dog' needs"),
        ("a.json", f'{{"cat": {"9" * 5000}}}', "this JSON has a number of more than 4,300 digits"),
        ("a.json", "[1, 2]", "must be one object"),
        ("a.json", "[" * 100_000, "nested too deeply|not JSON"),
    ],
)
def test_errors_name_the_file_and_the_line(write, name, text, message):
    path = write(text, name)
    with pytest.raises(InputError, match=message) as error:
        class_file.read(path, whole_numbers=True)
    assert str(path) in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        class_file.read(tmp_path / "none.csv", whole_numbers=True)


def test_names_must_be_the_classes(write):
    path = write("person,3\ntraffic ligth,4\n")
    numbers = class_file.read(path, whole_numbers=True)
    hint = "line 2: there is no class 'traffic ligth'; did you mean 'traffic light'?"
    with pytest.raises(InputError, match=re.escape(f"{path}, {hint}")):
        numbers.of(["person", "traffic light"])
    with pytest.raises(InputError, match=r"no number for class 'cat' and 1 more; .* the 4 classes"):
        numbers.of(["person", "traffic ligth", "cat", "dog"])
