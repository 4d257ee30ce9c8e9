"""The elements of a page: plain HTML and one style sheet, nothing from outside.

Text is escaped here and markup is an `Html`, so that a name from a file can never become part of the page's code.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .palette import ACCENT, GROUND, INK, LINE, PAPER, QUIET

__all__ = ["Html", "duration", "figure", "grid", "header", "page", "paragraph", "section", "table"]

_COLOURS = {"ink": INK, "quiet": QUIET, "line": LINE, "paper": PAPER, "ground": GROUND, "accent": ACCENT}
_STYLE = f"""
:root {{ {" ".join(f"--{name}: {colour};" for name, colour in _COLOURS.items())} }}"""
_STYLE += """
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); line-height: 1.5; font-size: 15px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
header h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; overflow-wrap: anywhere; }
header p { margin: 0 0 20px; color: var(--quiet); max-width: 75ch; overflow-wrap: anywhere; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 22px 24px;
  margin: 20px 0 0; }
h2 { font-size: 18px; margin: 0 0 12px; }
h3 { font-size: 14px; margin: 0 0 6px; font-weight: 600; }
p { margin: 0 0 12px; max-width: 75ch; overflow-wrap: anywhere; }
section > :last-child { margin-bottom: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
.tile b { display: block; font-size: 22px; line-height: 1.25; font-weight: 600; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: 13px; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); gap: 24px; }
figure { margin: 0 0 20px; min-width: 0; }
.grid figure { margin-bottom: 0; }
.grid + p { margin-top: 14px; }
.grid + .scroll, .grid + .grid { margin-top: 20px; }
.grid > .scroll { margin: 0; }
.large .grid { grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr)); gap: 32px 28px; }
.large figure svg { max-width: 520px; }
.large figure .wide svg { max-width: 900px; }
figure svg { display: block; width: 100%; max-width: 460px; height: auto; }
figcaption { color: var(--quiet); font-size: 13px; margin-top: 6px; max-width: 75ch; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
figure .wide svg { min-width: 600px; max-width: 900px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: 12.5px; color: var(--quiet); margin: 0 0 4px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 5px;
  vertical-align: -1px; }
.views { display: grid; grid-template-columns: repeat(4, 1fr); gap: 8px; }
.views.whole { grid-template-columns: 1fr; }
.views div { min-width: 0; font-size: 12.5px; color: var(--quiet); }
.views img { display: block; width: 100%; height: auto; border-radius: 4px; }
.views img.coarse { image-rendering: pixelated; }
.scroll { overflow-x: auto; margin: 0 0 16px; /* a shadow at an edge beyond which the table continues */
  background: linear-gradient(to right, #fff 50%, #fff0) 0 0 / 36px 100% no-repeat local,
    linear-gradient(to left, #fff 50%, #fff0) 100% 0 / 36px 100% no-repeat local,
    linear-gradient(to right, #0002, #0000) 0 0 / 12px 100% no-repeat scroll,
    linear-gradient(to left, #0002, #0000) 100% 0 / 12px 100% no-repeat scroll; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; font-weight: 600; padding: 0 0 4px; }
th, td { text-align: left; vertical-align: top; padding: 5px 16px 5px 0; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 500; font-size: 13px; }
th:last-child, td:last-child { padding-right: 0; }
tr.quiet td { color: var(--quiet); }
table.many { table-layout: fixed; min-width: 590px; }
table.many th:first-child { width: 26%; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.prose td { overflow-wrap: anywhere; }
.prose td:first-child { white-space: nowrap; }
footer { color: var(--quiet); font-size: 13px; margin-top: 20px; overflow-wrap: anywhere; }
@media (max-width: 620px) {
  main { padding: 20px 12px 40px; }
  section { padding: 16px 14px; }
  .views { grid-template-columns: repeat(2, 1fr); }
  table { font-size: 13px; }
  th, td { padding-right: 10px; }
}
@media print {
  @page { margin: 14mm; }
  body { background: #fff; font-size: 10pt; }
  main { max-width: none; padding: 0; }
  section { border: 0; border-top: 1px solid var(--line); border-radius: 0; padding: 14px 0 0; }
  h2, h3 { break-after: avoid; }
  figure, tr, .tile, .views { break-inside: avoid; }
  .scroll { overflow: visible; background: none; }
  table.many { min-width: 0; }
  .views { grid-template-columns: repeat(4, 1fr); }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


class Html(str):
    """Markup, which is put into the page unchanged."""


def _markup(value: object) -> str:
    return value if isinstance(value, Html) else escape(str(value))


def page(title: str, *parts: Html, footer: str, is_large: bool = False) -> str:
    """A whole page; `is_large` for pictures that are projected, two side by side instead of three."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main{' class=large' * is_large}>\n"
        + "\n".join(parts)
        + f"\n<footer>{escape(footer)}</footer>\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: Html) -> Html:
    """A titled part of the page."""
    return Html(f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>")


def paragraph(*sentences: str) -> Html:
    """Sentences as one paragraph; empty ones are left out."""
    return Html(f"<p>{' '.join(_markup(sentence) for sentence in sentences if sentence)}</p>")


def grid(*parts: Html) -> Html:
    """Parts side by side if the page is wide enough."""
    return Html(f'<div class="grid">{"".join(parts)}</div>')


def header(title: str, sentence: str, values: Sequence[tuple[str, str]]) -> Html:
    """The top of a page: its name, one sentence, and large values (value, name)."""
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in values
    )
    return Html(f"<header><h1>{escape(title)}</h1>{paragraph(sentence)}<div class=tiles>{cells}</div></header>")


def figure(picture: Html, sentence: str, *, title: str = "", legend: Sequence[tuple[str, str]] = ()) -> Html:
    """A picture with the sentence that explains it.

    Parameters
    ----------
    picture : Html
    sentence, title : str
    legend : sequence of (colour, name)
        Colours as CSS writes them.
    """
    head = f"<h3>{escape(title)}</h3>" if title else ""
    chips = "".join(
        f'<span><i style="background:{escape(colour)}"></i>{escape(name)}</span>' for colour, name in legend
    )
    keys = f'<div class="legend">{chips}</div>' if chips else ""
    return Html(f"<figure>{head}{keys}{picture}<figcaption>{escape(sentence)}</figcaption></figure>")


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    is_prose: bool = False,
    quiet: Sequence[int] = (),
) -> Html:
    """A table that scrolls by itself on a narrow screen.

    Parameters
    ----------
    header : sequence of str
    rows : sequence of sequence of str
        As many cells as the header has.
    caption : str
    is_prose : bool
        Words in all columns; else all but the first hold numbers and are set flush right.
    quiet : sequence of int
        Indices of rows that are set in gray.
    """
    kinds = ["" if i == 0 or is_prose else ' class="number"' for i in range(len(header))]
    top = "".join(f"<th{kind}>{_markup(cell)}</th>" for kind, cell in zip(kinds, header, strict=True))
    body = "".join(
        f"<tr{' class=quiet' * (i in quiet)}>"
        + "".join(f"<td{kind}>{_markup(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for i, row in enumerate(rows)
    )
    name = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = ' class="prose"' if is_prose else ' class="many"' if len(header) > 4 else ""
    return Html(
        f'<div class="scroll"><table{kind}>{name}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def duration(time_s: float) -> str:
    """A time in words: two units at most.

    >>> duration(56.2), duration(600), duration(7500)
    ('56 s', '10 min', '2 h 5 min')
    """
    if time_s < 10:
        return f"{time_s:.1f} s"
    minutes, rest = divmod(round(time_s), 60)
    hours, minutes_left = divmod(minutes, 60)
    if not minutes:
        return f"{rest} s"
    if not hours:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{hours} h {minutes_left} min" if minutes_left else f"{hours} h"
