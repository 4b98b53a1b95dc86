"""XML elements with their line numbers; document type declarations are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from splits.errors import InputError
from splits.sources._text import line_error, need_file

_REASONS = {
    expat.errors.XML_ERROR_NO_ELEMENTS: "there is no element",
    expat.errors.XML_ERROR_UNCLOSED_TOKEN: "a tag does not end",
    expat.errors.XML_ERROR_TAG_MISMATCH: "an end tag does not match its start tag",
    expat.errors.XML_ERROR_DUPLICATE_ATTRIBUTE: "an attribute occurs twice in a tag",
    expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT: "text follows the last end tag",
    expat.errors.XML_ERROR_UNDEFINED_ENTITY: "an entity is not defined",
    expat.errors.XML_ERROR_INVALID_TOKEN: "a character is not allowed here",
    expat.errors.XML_ERROR_UNKNOWN_ENCODING: "its encoding is not supported; save it as UTF-8",
}


@dataclass
class Element:
    """An element of an XML file.

    Attributes:
        tag: its name, without the prefix of a namespace.
        line: the line of its start tag, from 1.
        attributes: name -> value.
        text: its text, without that of its children.
        children: its child elements.
    """

    tag: str
    line: int
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, tag: str) -> list[Element]:
        """The children with a tag."""
        return [child for child in self.children if child.tag == tag]


def read_xml(path: Path) -> Element:
    """The root element of an XML file.

    Raises:
        InputError: no such file, or the file is not XML, is truncated or declares a document type.
    """
    need_file(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True  # else a text of many lines is joined line by line
    parser.buffer_size = 1 << 20
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

    def refuse_doctype(*_: object) -> None:
        line = parser.CurrentLineNumber
        raise line_error(path, line, "a document type declaration is not allowed; remove it.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        reason = _REASONS.get(expat.ErrorString(error.code), "a tag or a text is malformed")
        raise line_error(
            path, error.lineno, f"this is not XML, or it is truncated: {reason}."
        ) from None
    except InputError:
        raise
    except (LookupError, ValueError):  # an unknown encoding in the declaration
        raise line_error(path, 1, "its encoding is not supported; save it as UTF-8.") from None
    return root.children[0]
