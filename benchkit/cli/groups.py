"""Commands that notice repeated options, and options under headings in `--help`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

_OTHER = "Other options"


class Command(click.Command):
    """A command that refuses a second value for an option that takes one.

    Without it, the last value would win in silence.
    """

    def make_parser(self, ctx: click.Context) -> Any:
        """The parser of click, with the check."""
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def checked(args: list[str]) -> Any:
            result = parse(args)
            for parameter, count in Counter(result[2]).items():
                if isinstance(parameter, click.Option) and count > 1 and _takes_one(parameter):
                    raise click.UsageError(f"{parameter.opts[0]} is given {count} times", ctx)
            return result

        parser.parse_args = checked  # type: ignore[method-assign]
        return parser


def _takes_one(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


class GroupedOption(click.Option):
    """An option with a heading.

    Args:
        *args: as for `click.Option`.
        heading: the heading in the help.
        **kwargs: as for `click.Option`.
    """

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class GroupedCommand(Command):
    """A command that lists its options under their headings, in the order of their definition.

    Args:
        *args: as for `Command`.
        replaced: former option -> the sentence that names its replacement.
        **kwargs: as for `Command`.
    """

    def __init__(
        self, *args: Any, replaced: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.replaced = dict(replaced or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, and explain options that have been replaced."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name not in self.replaced:
                raise
            sentence = self.replaced[error.option_name]
            raise click.UsageError(f"{error.option_name} {sentence}", ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section of the help for each heading; other options come last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                heading = getattr(parameter, "heading", _OTHER)
                sections.setdefault(heading, []).append(record)
        for heading in sorted(sections, key=lambda heading: heading == _OTHER):
            with formatter.section(heading):
                formatter.write_dl(sections[heading])
