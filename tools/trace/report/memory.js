'use strict';
// Physical memory and every address space, as of a chosen record. The state is kept for one record and moved to
// another by applying, or undoing, what lies between: each change remembers what it replaced.

const PAGE = 4096;
const PAGES = 600; // of a process, as cells
const GRID = 440; // pixels: the grid of frames is no taller, and scrolls

class Memory {
  constructor(trace, model, choose) {
    Object.assign(this, {trace, model, choose});
    this.changes = trace.of('pte_set', 'pte_clear', 'alloc', 'free', 'ref', 'unref');
    this.at = -1; // changes applied up to and including this one
    this.count = new Map(); // frame -> references, where known
    this.leaves = new Map(); // root -> Map(va -> [frame, bits])
    this.holders = new Map(); // frame -> Map('root:va' -> [root, va, bits])
    this.undo = new Array(this.changes.length);
    this.frames = this.everyFrame();
    this.roots = this.rootOwners();
    this.lit = -1;
    this.canvas = document.getElementById('grid');
    this.box = document.getElementById('grid-box'); // scrolls; the canvas stays where one looks
    this.box.addEventListener('scroll', () => this.drawGrid());
    this.canvas.addEventListener('pointermove', (e) => this.hover(e));
    this.canvas.addEventListener('pointerleave', () => { hideTip(); this.light(-1); });
    document.getElementById('spaces').addEventListener('pointerover', (e) => this.hoverPage(e));
    document.getElementById('spaces').addEventListener('pointerout', () => { hideTip(); this.light(-1); });
  }

  slot(event, name) { return this.trace.table[event].args.findIndex(([a]) => a === name); }

  everyFrame() {
    const t = this.trace, seen = new Set();
    this.slots = {};
    for (const i of this.changes) {
      const s = this.slots[t.event[i]] ??= {frame: this.slot(t.event[i], 'frame'), va: this.slot(t.event[i], 'va')};
      seen.add(t.arg(i, s.frame));
    }
    const list = Float64Array.from(seen).sort();
    this.cell = new Map([...list].map((frame, n) => [frame, n]));
    return list;
  }

  // root -> [[record, pid], ...]: whose page table it was from which record on.
  rootOwners() {
    const t = this.trace, owners = new Map();
    const add = (root, i, pid) => { if (!owners.has(root)) owners.set(root, []); owners.get(root).push([i, pid]); };
    for (const [pid, , root] of t.processes) if (root) add(root, -1, pid);
    const fork = t.id('fork');
    for (const i of t.of('fork', 'exec')) {
      if (t.event[i] === fork) add(t.arg(i, 1), i, t.arg(i, 0)); else add(t.arg(i, 0), i, t.pid[i]);
    }
    return owners;
  }

  // A table is filled before fork or exec says whose it is, so its next owner has it already if it was freed since.
  owner(root, i) {
    const rows = this.roots.get(root);
    if (!rows) return 0;
    const next = rows.find((r) => r[0] > i), last = [...rows].reverse().find((r) => r[0] <= i);
    return (last ?? next)[1];
  }

  apply(n) {
    const t = this.trace, i = this.changes[n], s = this.slots[t.event[i]], frame = t.arg(i, s.frame);
    const name = t.name(i);
    if (name === 'pte_set' || name === 'pte_clear') {
      const root = t.arg(i, 0), va = t.arg(i, s.va);
      const old = this.leaves.get(root)?.get(va);
      this.undo[n] = old;
      this.setLeaf(root, va, name === 'pte_set' ? [frame, t.arg(i, 3)] : undefined);
    } else {
      const old = this.count.get(frame);
      this.undo[n] = old;
      this.count.set(frame, name === 'alloc' ? 1 : name === 'free' ? 0 : (old ?? 1) + (name === 'ref' ? 1 : -1));
    }
  }

  revert(n) {
    const t = this.trace, i = this.changes[n], s = this.slots[t.event[i]];
    const name = t.name(i);
    if (name === 'pte_set' || name === 'pte_clear') this.setLeaf(t.arg(i, 0), t.arg(i, s.va), this.undo[n]);
    else if (this.undo[n] === undefined) this.count.delete(t.arg(i, s.frame));
    else this.count.set(t.arg(i, s.frame), this.undo[n]);
  }

  setLeaf(root, va, leaf) {
    if (!this.leaves.has(root)) this.leaves.set(root, new Map());
    const table = this.leaves.get(root), old = table.get(va), key = root + ':' + va;
    if (old) this.holders.get(old[0]).delete(key);
    if (!leaf) { table.delete(va); return; }
    table.set(va, leaf);
    if (!this.holders.has(leaf[0])) this.holders.set(leaf[0], new Map());
    this.holders.get(leaf[0]).set(key, [root, va, leaf[1]]);
  }

  // Moves the state to just after record i, and draws it.
  show(i) {
    this.record = i;
    const end = lowerBound(this.changes, i + 1);
    while (this.at < end - 1) this.apply(++this.at);
    while (this.at >= end) this.revert(this.at--);
    this.draw();
  }

  mappings(frame) { return [...(this.holders.get(frame)?.values() ?? [])]; }

  colourOf(held, frame) {
    if (held.length === 0) return this.count.get(frame) ? this.tone.soft : this.tone.faint;
    const own = held.find(([, , bits]) => !(bits & PTE_S)) ?? held[0];
    const pid = this.owner(own[0], this.record);
    return this.model.colour(pid);
  }

  isShared(frame) { return this.mappings(frame).some(([, , bits]) => bits & PTE_S); }

  draw() {
    const when = document.getElementById('memory-when');
    if (!this.changes.length) {
      when.textContent = 'no frame or page-table events in this trace (record with -e all)';
      document.getElementById('memory-body').hidden = true;
      return;
    }
    when.textContent = `after event ${this.record + 1}, at ${this.trace.seconds(this.trace.time[this.record])} s`;
    this.drawGrid();
    this.drawSpaces();
    let used = 0, shared = 0, copied = 0;
    for (const frame of this.frames) {
      const held = this.holders.get(frame)?.size ?? 0;
      if (held || this.count.get(frame)) used++;
      if (held && this.isShared(frame)) shared++; else if (held > 1) copied++;
    }
    this.tally = `${this.frames.length} frames touched in this run: ${used} in use now, ${shared} shared between processes, ` +
      `${copied} waiting to be copied on write`;
    if (this.lit < 0) document.getElementById('frame-text').textContent = this.tally;
  }

  // The frames in sight.
  drawGrid() {
    const w = this.box.clientWidth || 400, n = this.frames.length;
    this.size = Math.max(4, Math.min(14, Math.floor(Math.sqrt(w * 420 / Math.max(n, 1)))));
    this.across = Math.max(1, Math.floor(w / this.size));
    const s = this.size, tall = Math.ceil(n / this.across) * s + 2, seen = Math.min(tall, GRID);
    document.getElementById('grid-space').style.height = tall - seen + 'px';
    const g = prepare(this.canvas, w, seen), top = Math.min(this.box.scrollTop, tall - seen);
    this.tone = {soft: css('--soft'), faint: css('--faint'), shared: css('--shared'), card: css('--card'), ink: css('--ink')};
    g.translate(0, -top);
    const last = Math.min(n, Math.ceil((top + seen) / s) * this.across);
    for (let k = Math.floor(top / s) * this.across; k < last; k++) {
      this.drawFrame(g, this.frames[k], k % this.across * s, Math.floor(k / this.across) * s, s > 6 ? s - 2 : s - 1);
    }
    if (this.lit < 0 && this.tally) document.getElementById('frame-text').textContent = this.tally;
  }

  // One frame: its owner's colour; ringed if shared, halved if it waits to be copied on write.
  drawFrame(g, frame, x, y, size) {
    const held = this.mappings(frame);
    g.fillStyle = this.colourOf(held, frame);
    g.fillRect(x, y, size, size);
    if (held.some(([, , bits]) => bits & PTE_S)) {
      g.strokeStyle = this.tone.shared;
      g.lineWidth = 2;
      g.strokeRect(x + 1, y + 1, size - 2, size - 2);
      g.fillStyle = '#fff';
      g.fillRect(x + size / 2 - 1, y + size / 2 - 1, 2.5, 2.5);
    } else if (held.length > 1) {
      g.fillStyle = this.tone.card;
      g.beginPath();
      g.moveTo(x, y + size);
      g.lineTo(x + size, y + size);
      g.lineTo(x + size, y);
      g.globalAlpha = 0.45;
      g.fill();
      g.globalAlpha = 1;
    }
    if (frame === this.lit) { g.strokeStyle = this.tone.ink; g.lineWidth = 2; g.strokeRect(x - 0.5, y - 0.5, size + 1, size + 1); }
    g.lineWidth = 1;
  }

  // Runs of pages of one process, in order of address: [[va, frame, bits], ...].
  drawSpaces() {
    const box = document.getElementById('spaces');
    const live = new Map();
    for (const [root, table] of this.leaves) {
      if (!table.size) continue;
      const pid = this.owner(root, this.record);
      if (!live.has(pid) || table.size > live.get(pid)[1].size) live.set(pid, [root, table]);
    }
    const cards = [...live].sort((a, b) => a[0] - b[0]).slice(0, 60).map(([pid, [root, table]]) => {
      const card = document.createElement('div');
      card.className = 'space';
      const title = document.createElement('div');
      title.innerHTML = `<i class="page"></i> <b></b> <small></small>`;
      title.firstChild.style.background = this.model.colour(pid);
      title.querySelector('b').textContent = `${pid} ${this.trace.program(pid, this.record)}`;
      title.querySelector('small').textContent = `${table.size} pages, root 0x${root.toString(16)}`;
      const pages = document.createElement('div');
      pages.className = 'pages';
      let last = -PAGE;
      for (const va of [...table.keys()].sort((a, b) => a - b).slice(0, PAGES)) {
        if (va !== last + PAGE && last >= 0) pages.append(Object.assign(document.createElement('span'), {className: 'page gap'}));
        last = va;
        pages.append(this.pageCell(pid, va, ...table.get(va)));
      }
      if (table.size > PAGES) pages.append(`and ${(table.size - PAGES).toLocaleString('en')} more`);
      card.append(title, pages);
      return card;
    });
    box.replaceChildren(...cards);
  }

  pageCell(pid, va, frame, bits) {
    const cell = document.createElement('span');
    cell.className = 'page';
    const h = bits & PTE_X ? 212 : bits & PTE_W ? 150 : 48;
    cell.style.background = bits & PTE_C ? `linear-gradient(135deg, ${hue(150)} 50%, ${hue(48)} 50%)` : hue(h);
    if (bits & PTE_S) cell.style.boxShadow = `inset 0 0 0 2.5px ${css('--shared')}`;
    Object.assign(cell.dataset, {frame, va, bits, pid});
    return cell;
  }

  describe(frame) {
    const count = this.count.get(frame), held = this.mappings(frame);
    const lines = [`frame 0x${frame.toString(16)}` + (count === undefined ? '' : count ? `, ${count} reference${count > 1 ? 's' : ''}` : ', free')];
    for (const [root, va, bits] of held) {
      const pid = this.owner(root, this.record);
      const flags = PTE.map(([bit, letter]) => (bits & bit ? letter : '-')).join('');
      lines.push(`  ${pid} ${this.trace.program(pid, this.record)} at 0x${va.toString(16)} ${flags}`);
    }
    if (!held.length && count) lines.push('  used by the kernel: a page table, a stack, a buffer');
    return lines.join('\n');
  }

  light(frame) {
    if (frame === this.lit) return;
    this.lit = frame;
    for (const cell of document.querySelectorAll('.page.lit')) cell.classList.remove('lit');
    if (frame >= 0) for (const cell of document.querySelectorAll(`.page[data-frame="${frame}"]`)) cell.classList.add('lit');
    if (this.changes.length && this.record !== undefined) this.drawGrid();
  }

  hover(e) {
    const y = e.offsetY + this.box.scrollTop;
    const k = Math.floor(y / this.size) * this.across + Math.floor(e.offsetX / this.size);
    if (k < 0 || k >= this.frames.length || e.offsetX > this.across * this.size) { hideTip(); return; }
    this.light(this.frames[k]);
    const text = this.describe(this.frames[k]);
    document.getElementById('frame-text').textContent = text.replaceAll('\n', ' ');
    showTip(e, text);
  }

  hoverPage(e) {
    const frame = Number(e.target.dataset?.frame);
    if (!frame) return;
    this.light(frame);
    showTip(e, `page 0x${Number(e.target.dataset.va).toString(16)} of ${e.target.dataset.pid}\n${this.describe(frame)}`);
  }
}
