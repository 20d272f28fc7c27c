"""The figure of two address spaces and the frames between them, drawn from a stopped guest's memory."""

from __future__ import annotations

from tools.docs.drawing.svg import Drawing
from tools.guest import Kernel, Process, Processes
from tools.guest.programs import Programs
from tools.guest.regions import UserRegions
from tools.guest.sharing import Mapping, Mappings
from tools.guest.sv39 import C, W, X, address_of

STEP, TOP = 27, 112  # pixels from one page to the next; where the first stands
WIDTH, PAGE_WIDTH, FRAME_WIDTH = 860, 226, 118
LEFT, MIDDLE, RIGHT = 24, 371, 610  # left edges: one process's pages, frames, the other's pages
KEY = (
    ("violet", "shared in from the other process: PTE_S"),
    ("amber", "copied when one of them writes: PTE_COW"),
    ("green", "its own"),
    ("blue", "text"),
)


def kind_of(page: Mapping) -> str:
    """The colour of a page, by what its entry says."""
    if page.shared_in:
        return "violet"
    if page.entry & C:
        return "amber"
    return "blue" if page.entry & X else "green" if page.entry & W else "grey"


class Picture:
    """Two relatives of one program, the one having mapped pages of the other's."""

    def __init__(self, kernel: Kernel):
        self.kernel, self.mappings = kernel, Mappings(Processes(kernel))
        leaves = next(m for m in self.mappings.frames.values() if any(x.shared_in for x in m))
        self.taker = next(m.process for m in leaves if m.shared_in)
        self.owner = next(m.process for m in leaves if not m.shared_in)
        self.frames: dict[int, list[Mapping]] = {}
        for pa, found in sorted(self.mappings.frames.items()):
            both = [m for m in found if m.process in (self.owner, self.taker)]
            if both:
                self.frames[pa] = both
        rows = max(len(self.frames), *(len(self._pages(p)) for p in (self.owner, self.taker)))
        self.drawing = Drawing(WIDTH, TOP + STEP * rows + 66, "Two address spaces and their frames")

    def _pages(self, p: Process) -> list[Mapping]:
        """A process's pages, lowest address first."""
        return sorted(
            (m for found in self.frames.values() for m in found if m.process is p),
            key=lambda m: m.va,
        )

    def _names(self, p: Process) -> dict[int, str]:
        """What each page of a process is, by address."""
        table = self.mappings.tables[p.slot]
        elf = Programs(self.kernel.elf.path).find(p.name)
        regions = UserRegions(self.kernel, p, table, elf)
        return {
            leaf.va: regions.what(leaf.va, leaf.pa, leaf.entry & 0x3FF) for leaf in table.leaves()
        }

    def draw(self) -> Drawing:
        """The picture."""
        d = self.drawing
        d.text(LEFT, 30, f"{self.owner.name}: a child has mapped a page of its parent's", "title")
        d.text(LEFT, 50, "Stopped where the child calls unmap_shared_pages().", "small faint")
        d.text(MIDDLE + FRAME_WIDTH / 2, TOP - 14, "physical frames", "small faint middle")
        rows = {pa: TOP + STEP * i for i, pa in enumerate(self.frames)}
        for p, role, x in ((self.owner, "parent", LEFT), (self.taker, "child", RIGHT)):
            d.text(x, TOP - 14, f"{role}: pid {p.pid}, sz {p.size or 0:#x}", "small faint")
            names = self._names(p)
            for i, page in enumerate(self._pages(p)):
                y = TOP + STEP * i
                self._link(page, x, y, rows[address_of(page.entry)])
                d.rect(x, y, PAGE_WIDTH, STEP - 6, kind_of(page), opacity=0.45)
                d.text(x + 8, y + 15, f"{page.va:#07x}", "mono")
                d.text(x + PAGE_WIDTH - 8, y + 15, names.get(page.va, "memory"), "small end")
        for pa, found in self.frames.items():
            kind = next((kind_of(m) for m in found if m.shared_in), kind_of(found[0]))
            d.rect(MIDDLE, rows[pa], FRAME_WIDTH, STEP - 6, "paper")
            shade = 0.75 if len(found) > 1 else 0.35
            d.rect(MIDDLE, rows[pa], FRAME_WIDTH, STEP - 6, kind, opacity=shade)
            d.text(MIDDLE + FRAME_WIDTH / 2, rows[pa] + 15, f"{pa:#x}", "mono middle")
        for i, (kind, words) in enumerate(KEY):
            x, low = LEFT + 420 * (i % 2), d.height - 40 + 20 * (i // 2)
            d.rect(x, low - 11, 14, 14, kind, opacity=0.6)
            d.text(x + 22, low, words, "small")
        return d

    def _link(self, page: Mapping, x: int, y: int, frame_y: int) -> None:
        """The line from a page to its frame."""
        start, end = (x + PAGE_WIDTH, MIDDLE) if x < MIDDLE else (x, MIDDLE + FRAME_WIDTH)
        bend, a, b = (start + end) / 2, y + STEP / 2 - 3, frame_y + STEP / 2 - 3
        self.drawing.path(
            f"M{start},{a} C{bend},{a} {bend},{b} {end},{b}",
            f"{kind_of(page)}-line",
            2.5 if page.shared_in else 1.2,
        )
