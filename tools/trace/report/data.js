'use strict';
// From the page's two scripts to a Trace: columns of numbers, and how a record reads as text.

async function inflate(base64) {
  const text = atob(base64.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The numbers of one column: base value plus `w` planes of bytes, the lowest first.
function column(place, bytes) {
  const {w, n, b} = place;
  const wide = b + 256 ** w > 2 ** 32;
  const out = wide ? new Float64Array(n) : new Uint32Array(n);
  if (w === 0) out.fill(b);
  for (let i = 0; w > 0 && i < n; i++) {
    let v = 0;
    for (let k = w - 1; k >= 0; k--) v = v * 256 + bytes[place.o + k * n + i];
    out[i] = b + v;
  }
  return out;
}

// First index in sorted `a`, from `low`, whose value is at least `value`.
function lowerBound(a, value, low = 0, high = a.length) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (a[middle] < value) low = middle + 1; else high = middle;
  }
  return low;
}

const PTE = [[2, 'r'], [4, 'w'], [8, 'x'], [16, 'u'], [256, 'S'], [512, 'C']];
const PTE_S = 256, PTE_C = 512, PTE_W = 4, PTE_X = 8;

class Trace {
  constructor(description, bytes) {
    Object.assign(this, description);
    const e = description.events;
    this.count = e.count;
    const steps = column(e.time, bytes);
    this.time = new Float64Array(this.count);
    for (let i = 0, t = e.start; i < this.count; i++) this.time[i] = t += steps[i];
    this.event = Uint8Array.from(column(e.event, bytes));
    this.hart = Uint8Array.from(column(e.hart, bytes));
    this.emitted = Uint8Array.from(column(e.emitted, bytes));
    this.pid = Int32Array.from(column(e.pid, bytes), (i) => e.pids[i]);
    this.columns = {};
    this.lists = {};
    for (const [id, places] of Object.entries(e.args)) {
      this.columns[id] = places.map((p) => column(p, bytes));
      this.lists[id] = places.map((p) => p.list);
    }
    this.ordinal = new Uint32Array(this.count);
    const seen = new Uint32Array(256);
    for (let i = 0; i < this.count; i++) this.ordinal[i] = seen[this.event[i]]++;
    this.ids = {};
    for (const [id, info] of Object.entries(this.table)) this.ids[info.name] = +id;
    this.us = this.frequency / 1e6;
    this.start = this.count ? this.time[0] : 0;
    this.end = this.count ? this.time[this.count - 1] : 1;
  }

  id(name) { return name in this.ids ? this.ids[name] : -1; }

  // An argument as a number; those too long for one are indices of their list and not asked for this way.
  arg(i, slot) { return this.columns[this.event[i]][slot][this.ordinal[i]]; }

  signed(value) { return value >= 2 ** 31 && value < 2 ** 32 ? value - 2 ** 32 : value; }

  hex(i, slot) {
    const list = this.lists[this.event[i]][slot];
    const value = this.arg(i, slot);
    return list ? list[value] : value.toString(16);
  }

  // Indices of the records of the named events.
  of(...names) {
    const wanted = new Set(names.map((n) => this.id(n)));
    const out = [];
    for (let i = 0; i < this.count; i++) if (wanted.has(this.event[i])) out.push(i);
    return out;
  }

  // What process `pid` was called at record i.
  program(pid, i) {
    if (pid === 0) return '-';
    const rows = this.history[pid];
    if (!rows) return '?';
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle][0] <= i) low = middle + 1; else high = middle;
    }
    return this.names[rows[Math.max(0, low - 1)][1]];
  }

  lastProgram(pid) { return this.program(pid, this.count); }

  text(i, slot) {
    const info = this.table[this.event[i]];
    let s = '';
    for (; slot < info.slots; slot++) {
      const raw = this.hex(i, slot).padStart(16, '0');
      for (let k = 14; k >= 0; k -= 2) {
        const code = parseInt(raw.slice(k, k + 2), 16);
        if (code) s += String.fromCharCode(code);
      }
    }
    return s;
  }

  argText(i, slot, kind) {
    const list = this.lists[this.event[i]][slot];
    const value = this.arg(i, slot);
    switch (kind) {
      case 'n': case 'bytes': return `${value}`;
      case 'int': {
        if (!list) return `${value}`;
        return `${BigInt.asIntN(64, BigInt('0x' + list[value]))}`;
      }
      case 'pid': return value ? `${value}:${this.program(value, i)}` : '0';
      case 'ticks': return `${(value / this.us).toFixed(1)}us`;
      case 'text': return `"${this.text(i, slot)}"`;
      case 'pte': return PTE.map(([bit, letter]) => (value & bit ? letter : '-')).join('');
      case 'symbol': { const h = this.hex(i, slot); return this.symbols[h] || '0x' + h; }
    }
    const values = this.values[kind];
    if (values && !list && value in values) return values[value];
    return '0x' + this.hex(i, slot);
  }

  name(i) { const info = this.table[this.event[i]]; return info ? info.name : `unknown ${this.event[i]}`; }

  args(i) {
    const info = this.table[this.event[i]];
    if (!info) return '';
    return info.args.map(([name, kind], slot) => `${name}=${this.argText(i, slot, kind)}`).join(' ');
  }

  seconds(t) { return (t / this.frequency).toFixed(6); }

  line(i) {
    const who = `${this.pid[i]} ${this.program(this.pid[i], i)}`;
    return `${this.seconds(this.time[i])}  hart ${this.hart[i]}  ${who}  ${this.name(i)}  ${this.args(i)}`;
  }

  // The record nearest in time to t.
  at(t) {
    const i = lowerBound(this.time, t);
    if (i === 0 || (i < this.count && this.time[i] - t < t - this.time[i - 1])) return Math.min(i, this.count - 1);
    return i - 1;
  }
}

// A time span for people.
function duration(trace, ticks) {
  const us = ticks / trace.us;
  if (us < 1000) return `${us.toFixed(us < 10 ? 1 : 0)} µs`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 2 : 1)} ms`;
  return `${(us / 1e6).toFixed(2)} s`;
}
