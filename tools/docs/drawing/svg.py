"""A drawing as an SVG file that reads well on light and on dark pages, as text a person can diff.

Colours are classes, so that the page's theme chooses them; lengths are pixels.
"""

from __future__ import annotations

from html import escape

FONT = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
HUES = {  # class: light, dark
    "blue": ("#2f6fdb", "#6ea8ff"),
    "green": ("#1f8a4c", "#5fcf8d"),
    "amber": ("#b86e00", "#f0b35a"),
    "red": ("#c23b3b", "#ff8a8a"),
    "violet": ("#7b4bc9", "#b99bff"),
    "teal": ("#127f86", "#58c9cf"),
    "grey": ("#8a929c", "#7d8590"),
}
STYLE = f"""
svg {{ --ink: #1f2328; --faint: #59636e; --line: #d1d9e0; --paper: #ffffff; --panel: #f6f8fa; }}
@media (prefers-color-scheme: dark) {{
svg {{ --ink: #e6edf3; --faint: #9198a1; --line: #3d444d; --paper: #0d1117; --panel: #151b23; }}
}}
text {{ font: 13px {FONT}; fill: var(--ink); }}
.mono {{ font-family: {MONO}; font-size: 12px; white-space: pre; }}
.faint {{ fill: var(--faint); }}
.small {{ font-size: 11px; }}
.title {{ font-weight: 600; }}
.middle {{ text-anchor: middle; }}
.end {{ text-anchor: end; }}
.paper {{ fill: var(--paper); }}
.panel {{ fill: var(--panel); stroke: var(--line); }}
.line {{ stroke: var(--line); fill: none; }}
"""


def _hues() -> str:
    light = "".join(f"svg {{ --{n}: {c[0]}; }}\n" for n, c in HUES.items())
    dark = "".join(f"svg {{ --{n}: {c[1]}; }}\n" for n, c in HUES.items())
    uses = "".join(
        f".{n} {{ fill: var(--{n}); }}\n.{n}-line {{ stroke: var(--{n}); fill: none; }}\n"
        for n in HUES
    )
    return light + "@media (prefers-color-scheme: dark) {\n" + dark + "}\n" + uses


class Drawing:
    """An SVG under construction; (0, 0) is the upper left corner."""

    def __init__(self, width: float, height: float, title: str):
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def add(self, element: str) -> None:
        """Appends an element as it is."""
        self.parts.append(element)

    def rect(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        kind: str,
        *,
        opacity: float = 1,
        tip: str = "",
    ) -> None:
        """A box of a class of colour; `tip` is shown where the mouse rests."""
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        faded = f' opacity="{opacity:.2f}"' if opacity < 1 else ""
        self.add(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="2" '
            f'class="{kind}"{faded}>{inside}</rect>'
        )

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        """One line of text, its baseline at y."""
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>')

    def path(self, d: str, kind: str, width: float = 1.5, *, arrow: bool = False) -> None:
        """A line in SVG's path notation, with an arrow's head at its end if asked."""
        head = ' marker-end="url(#head)"' if arrow else ""
        self.add(f'<path d="{d}" class="{kind}" stroke-width="{width}"{head}/>')

    def __str__(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" height="{self.height:g}" role="img">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}{_hues()}</style>\n"
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="context-stroke"/>'
            "</marker></defs>\n"
            f'<rect width="100%" height="100%" rx="6" class="paper"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def terminal(title: str, text: str) -> Drawing:
    """What a terminal showed, as a figure; what was typed (after `$ ` or `(gdb) `) stands out."""
    lines = text.expandtabs().rstrip("\n").split("\n")
    columns = max((len(line) for line in lines), default=0)
    drawing = Drawing(max(420, 32 + 7.25 * columns), 44 + 17 * len(lines), title)
    drawing.rect(0.5, 0.5, drawing.width - 1, drawing.height - 1, "panel")
    for i, hue in enumerate(("red", "amber", "green")):
        drawing.add(f'<circle cx="{16 + 16 * i}" cy="15" r="5" class="{hue}"/>')
    drawing.text(drawing.width / 2, 19, title, "small faint middle")
    for i, line in enumerate(lines):
        typed = line.startswith(("$ ", "(gdb) "))
        drawing.text(16, 44 + 17 * i, line, "mono blue title" if typed else "mono")
    return drawing
