'use strict';
// The searchable table of events: only the rows in sight exist.

const ROW = 20;

const TALLEST = 15e6; // pixels a browser scrolls reliably

class EventTable {
  constructor(trace, choose) {
    Object.assign(this, {trace, choose});
    this.box = document.getElementById('rows');
    this.space = document.getElementById('space');
    this.window = document.getElementById('window');
    this.all = Uint32Array.from({length: trace.count}, (_, i) => i).filter((i) => trace.emitted[i]);
    this.found = this.all;
    this.chosen = -1;
    this.search = document.getElementById('search');
    this.search.addEventListener('input', () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.filter(), 120); });
    this.search.addEventListener('keydown', (e) => { if (e.key === 'Enter' && this.found.length) this.choose(this.found[0]); });
    this.box.addEventListener('scroll', () => this.draw());
    this.window.addEventListener('click', (e) => { const r = e.target.closest('.row'); if (r) this.choose(+r.dataset.i); });
    this.filter();
  }

  // What the words of the search ask for, as one test of a record; words of one line must all hold.
  tests() {
    const t = this.trace, tests = [];
    for (const word of this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean)) {
      const [key, value] = word.split(/:(.*)/);
      const names = new Set(word.split(','));
      const ids = Object.entries(t.table).filter(([, e]) => names.has(e.name) || names.has(e.category)).map(([id]) => +id);
      if (value && key === 'pid') tests.push((i) => t.pid[i] === +value || ` ${t.args(i)}`.includes(`=${value}:`));
      else if (value && key === 'hart') tests.push((i) => t.hart[i] === +value);
      else if (value && key === 'program') tests.push((i) => t.program(t.pid[i], i).toLowerCase().startsWith(value));
      else if (value && key === 'request') {
        const mine = new Set(t.requests.filter((q) => q.number === +value).flatMap((q) => Object.values(q.steps)));
        tests.push((i) => mine.has(i));
      } else if (ids.length) { const wanted = new Set(ids); tests.push((i) => wanted.has(t.event[i])); }
      else tests.push((i) => t.line(i).toLowerCase().includes(word));
    }
    return tests;
  }

  async filter() {
    const tests = this.tests(), ticket = this.ticket = {};
    if (!tests.length) { this.done(this.all); return; }
    const out = [];
    let pause = performance.now();
    for (let k = 0; k < this.all.length; k++) {
      const i = this.all[k];
      if (tests.every((test) => test(i))) out.push(i);
      if (k % 512 === 0 && performance.now() - pause > 30) {
        document.getElementById('found').textContent = `${Math.round(k / this.all.length * 100)} %`;
        await new Promise((next) => setTimeout(next));
        if (ticket !== this.ticket) return;
        pause = performance.now();
      }
    }
    this.done(Uint32Array.from(out));
  }

  done(found) {
    this.found = found;
    document.getElementById('found').textContent =
      found === this.all ? `${found.length.toLocaleString('en')} events` : `${found.length.toLocaleString('en')} of ${this.all.length.toLocaleString('en')}`;
    this.tall = Math.min(found.length * ROW, TALLEST);
    this.space.style.height = this.tall + 'px';
    this.box.scrollTop = 0;
    this.draw();
  }

  // Where the list is taller than a browser scrolls, a pixel of the scroll bar stands for more than one.
  scale() {
    const inner = this.tall - this.box.clientHeight, full = this.found.length * ROW - this.box.clientHeight;
    return inner > 0 ? full / inner : 1;
  }

  draw() {
    const t = this.trace, top = this.box.scrollTop * this.scale();
    const first = Math.max(0, Math.floor(top / ROW)), n = Math.ceil(this.box.clientHeight / ROW) + 2;
    const rows = [];
    for (let k = first; k < Math.min(first + n, this.found.length); k++) {
      const i = this.found[k], r = element('div', undefined, 'row' + (i === this.chosen ? ' chosen' : ''));
      r.dataset.i = i;
      const info = t.table[t.event[i]], name = element('span', t.name(i), 'e');
      name.style.color = hue(CATEGORY[info?.category] ?? 0);
      r.append(element('span', t.seconds(t.time[i]), 't'), element('span', `h${t.hart[i]}`, 'h'),
        element('span', `${t.pid[i]} ${t.program(t.pid[i], i)}`, 'p'), name, element('span', t.args(i), 'a'));
      rows.push(r);
    }
    this.window.replaceChildren(...rows);
    this.window.style.top = this.box.scrollTop - (top - first * ROW) + 'px';
  }

  select(i) {
    this.chosen = i;
    const k = lowerBound(this.found, i), top = this.box.scrollTop * this.scale();
    if (k * ROW < top || (k + 1) * ROW > top + this.box.clientHeight) this.box.scrollTop = Math.max(0, k * ROW - this.box.clientHeight / 2) / this.scale();
    this.draw();
  }
}
