"""XML elements with their line numbers; a document type declaration is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from splits.sources._text import need_file, wrong


@dataclass
class Element:
    """An element of an XML file.

    Attributes:
        tag: its name, without a namespace's prefix.
        line: where it begins, from 1.
        attributes: by name.
        text: the text right inside it.
        children: the elements right inside it.
    """

    tag: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str) -> list[Element]:
        """The children of a tag."""
        return [child for child in self.children if child.tag == tag]


def read_xml(path: Path) -> Element:
    """The root element of an XML file.

    Raises:
        InputError: no such file, or the file is not XML, was cut off or declares a document type.
    """
    need_file(path)
    parser = expat.ParserCreate()
    root = Element("", 0, {})
    stack = [root]

    def start(tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        stack.append(Element(name, parser.CurrentLineNumber, attributes))
        stack[-2].children.append(stack[-1])

    def end(_: str) -> None:
        stack.pop()

    def text(data: str) -> None:
        stack[-1].text += data

    def declared(*_: object) -> None:
        line = parser.CurrentLineNumber
        raise wrong(path, line, "a document type declaration is not read; remove it.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise wrong(path, error.lineno, f"this is not XML, or it was cut off: {reason}.") from None
    except (LookupError, ValueError) as error:  # what Python says of an encoding that is declared
        raise wrong(path, 1, f"its encoding is not read ({error}); save it as UTF-8.") from None
    return root.children[0]
