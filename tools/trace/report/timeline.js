'use strict';
// The zoomable picture of time: an overview of the whole run, and the lanes of the part in view. Both are canvases
// drawn from sorted arrays by binary search, a pixel at a time where many items share one, so that the cost of a frame
// follows the width of the screen and not the length of the trace.

const GUTTER = 132;
const AXIS = 22;
const STATE_HUES = {enqueue: 48, dequeue: 20, map: 326, begin: 275, state: 150, unmap: 340, complete: 212};
// What goes on until a step of a request is reached.
const PHASES = {enqueue: 'asks', dequeue: 'waits in the queue', map: 'is mapped', begin: 'is checked', state: 'is worked on',
  unmap: 'is unmapped', complete: 'is given back'};

function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

// A canvas of CSS size w x h for this screen's pixels; returns its context, cleared.
function prepare(canvas, w, h) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    canvas.style.height = h + 'px';
  }
  const g = canvas.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, w, h);
  return g;
}

class Timeline {
  // choose(i): the user has chosen record i.
  constructor(trace, model, choose) {
    Object.assign(this, {trace, model, choose});
    this.canvas = document.getElementById('lanes');
    this.overview = document.getElementById('overview');
    const span = Math.max(1, trace.end - trace.start);
    this.whole = [trace.start - span * 0.01, trace.end + span * 0.01];
    [this.t0, this.t1] = this.whole;
    this.scroll = 0;
    this.chosen = -1;
    this.lane = null;
    this.drag = null;
    this.frameTime = 0;
    this.listen();
    this.resize();
  }

  resize() {
    this.width = this.canvas.clientWidth || 800;
    this.height = 0;
    this.place();
    this.redraw();
  }

  // Lays out the lanes of what is in view. The canvas grows with them up to a limit, and does not shrink while one looks.
  place() {
    this.model.layout(this.t0, this.t1);
    const limit = Math.max(260, Math.round(window.innerHeight * 0.62));
    this.height = Math.max(this.height, Math.min(this.model.height + AXIS + 4, limit));
    this.scroll = Math.max(0, Math.min(this.scroll, this.model.height - (this.height - AXIS)));
  }

  x(t) { return GUTTER + (t - this.t0) / (this.t1 - this.t0) * (this.width - GUTTER); }
  t(x) { return this.t0 + (x - GUTTER) / (this.width - GUTTER) * (this.t1 - this.t0); }

  redraw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.draw(); });
  }

  show(t0, t1) {
    const least = this.trace.us / 5, limit = (this.whole[1] - this.whole[0]) * 1.5;
    const span = Math.min(Math.max(t1 - t0, least), limit), middle = (t0 + t1) / 2;
    this.t0 = middle - span / 2;
    this.t1 = middle + span / 2;
    if (this.t1 < this.whole[0]) this.move(this.whole[0] - this.t0);
    if (this.t0 > this.whole[1]) this.move(this.whole[1] - this.t1);
    this.redraw();
  }

  move(by) { this.t0 += by; this.t1 += by; this.redraw(); }
  zoom(factor, around = (this.t0 + this.t1) / 2) {
    this.show(around - (around - this.t0) * factor, around + (this.t1 - around) * factor);
  }
  all() { this.show(...this.whole); }
  requests() {
    const marks = this.trace.requests.flatMap((q) => Object.values(q.steps)).map((i) => this.trace.time[i]);
    if (!marks.length) return;
    const low = marks.reduce((a, b) => Math.min(a, b)), high = marks.reduce((a, b) => Math.max(a, b));
    this.show(low - (high - low) * 0.15 - 10, high + (high - low) * 0.15 + 10);
  }

  select(i) {
    this.chosen = i;
    const time = this.trace.time[i];
    if (time < this.t0 || time > this.t1) this.move(time - (this.t0 + this.t1) / 2);
    this.place();
    const lane = this.model.laneOf(this.trace.pid[i]);
    if (lane) {
      this.lane = lane;
      const view = this.height - AXIS;
      if (lane.y < this.scroll) this.scroll = lane.y;
      if (lane.y + lane.height > this.scroll + view) this.scroll = lane.y + lane.height - view;
    }
    this.redraw();
  }

  draw() {
    const begin = performance.now();
    this.place();
    const g = prepare(this.canvas, this.width, this.height);
    this.colours = {ink: css('--ink'), soft: css('--soft'), line: css('--line'), faint: css('--faint'), mark: css('--mark'),
      card: css('--card')};
    g.font = '12px system-ui, "DejaVu Sans", sans-serif';
    g.textBaseline = 'middle';
    this.drawAxis(g);
    g.save();
    g.beginPath();
    g.rect(0, AXIS, this.width, this.height - AXIS);
    g.clip();
    for (const lane of this.model.shown) {
      const y = AXIS + lane.y - this.scroll;
      if (y + lane.height >= AXIS && y <= this.height) this.drawLane(g, lane, y);
    }
    this.drawLosses(g);
    this.drawArrows(g);
    g.restore();
    this.drawMarks(g);
    this.drawOverview();
    document.getElementById('range').textContent =
      `${this.trace.seconds(this.t0)} to ${this.trace.seconds(this.t1)} s (${duration(this.trace, this.t1 - this.t0)})`;
    this.frameTime = performance.now() - begin;
  }

  drawAxis(g) {
    const span = this.t1 - this.t0, target = span / Math.max(2, (this.width - GUTTER) / 130);
    let step = 10 ** Math.floor(Math.log10(target));
    step *= target / step > 5 ? 10 : target / step > 2 ? 5 : 2;
    const digits = Math.max(0, Math.min(7, Math.ceil(-Math.log10(step / this.trace.frequency))));
    g.textAlign = 'center';
    for (let t = Math.ceil(this.t0 / step) * step; t < this.t1; t += step) {
      const x = this.x(t);
      if (x < GUTTER) continue;
      g.fillStyle = this.colours.faint;
      g.fillRect(x, AXIS, 1, this.height);
      g.fillStyle = this.colours.soft;
      if (x > GUTTER + 24 && x < this.width - 24) g.fillText((t / this.trace.frequency).toFixed(digits) + ' s', x, 10);
    }
    g.textAlign = 'left';
  }

  drawLane(g, lane, y) {
    const h = lane.height;
    g.fillStyle = lane === this.lane ? this.colours.faint : this.colours.card;
    if (lane === this.lane) g.fillRect(0, y, GUTTER - 6, h - 1);
    g.fillStyle = this.colours.ink;
    g.fillText(this.fit(g, lane.title, GUTTER - 14), 6, y + h / 2);
    g.fillStyle = this.colours.line;
    g.fillRect(GUTTER, y + h - 1, this.width - GUTTER, 1);
    g.save();
    g.beginPath();
    g.rect(GUTTER, y, this.width - GUTTER, h);
    g.clip();
    if (lane.kind === 'hart') this.drawSpans(g, lane.spans, y + 3, h - 7, (n) => this.model.colour(lane.spans.tag[n]), (n) => this.runs(lane.spans, n));
    if (lane.kind === 'request') this.drawSpans(g, lane.spans, y + 3, h - 7, (n) => hue(STATE_HUES[lane.spans.tag[n]] ?? 200), (n) => PHASES[lane.spans.tag[n]]);
    if (lane.kind === 'process') this.drawProcess(g, lane, y);
    g.restore();
  }

  // Who a hart ran, by the name it had in the end.
  runs(s, n) { return `${this.trace.program(s.tag[n], lowerBound(this.trace.time, s.end[n]))} ${s.tag[n]}`; }

  drawProcess(g, lane, y) {
    const base = this.model.hueOf.get(lane.pid), s = lane.spans;
    const shade = {running: hue(base), ready: hue(base, 0.45), asleep: this.colours.soft};
    if (s) {
      const thick = {running: 12, ready: 12, asleep: 1.5};
      this.drawSpans(g, s, y + 17, 12, (n) => shade[s.tag[n]], null, (n) => thick[s.tag[n]]);
    }
    const names = this.trace.values.syscall || {};
    if (lane.calls) this.drawSpans(g, lane.calls, y + 17, 12, () => null, (n) => names[lane.calls.tag[n]], null, true);
    this.drawTicks(g, lane.ticks, y + 4);
  }

  // Spans of a lane. Where several begin in one pixel one stands for all.
  drawSpans(g, s, y, h, colour, label, thickness, outline) {
    const n = s.start.length;
    let i = lowerBound(s.end, this.t0);
    while (i < n && s.start[i] < this.t1) {
      const left = Math.max(GUTTER - 2, this.x(s.start[i])), right = Math.min(this.width + 2, this.x(s.end[i]));
      const w = right - left;
      if (outline) {
        if (w > 3) { g.strokeStyle = this.colours.ink; g.globalAlpha = 0.28; g.strokeRect(left + 0.5, y + 0.5, w - 1, h - 1); g.globalAlpha = 1; }
      } else {
        const thick = thickness ? thickness(i) : h;
        g.fillStyle = colour(i);
        g.fillRect(left, y + h - thick, Math.max(w, 1), thick);
      }
      if (label && w > 26) {
        const text = this.fit(g, label(i) || '', w - 8);
        if (text) {
          g.font = '11px system-ui, "DejaVu Sans", sans-serif';
          const x = Math.max(left, GUTTER) + 4;
          if (outline) { // on whatever the process was doing: a halo keeps it readable
            g.strokeStyle = this.colours.card;
            g.globalAlpha = 0.7;
            g.lineWidth = 3;
            g.lineJoin = 'round';
            g.strokeText(text, x, y + h / 2 + 0.5);
            g.lineWidth = g.globalAlpha = 1;
          }
          g.fillStyle = outline ? this.colours.ink : dark() ? '#10141a' : '#fff';
          g.fillText(text, x, y + h / 2 + 0.5);
          g.font = '12px system-ui, "DejaVu Sans", sans-serif';
        }
      }
      i = w < 1 ? Math.max(i + 1, lowerBound(s.end, this.t(Math.floor(left) + 1), i + 1)) : i + 1;
    }
  }

  drawTicks(g, ticks, y) {
    const time = this.trace.time, n = ticks.length;
    let i = this.firstTick(ticks, this.t0);
    while (i < n && time[ticks[i]] < this.t1) {
      const px = Math.floor(this.x(time[ticks[i]]));
      const info = this.trace.table[this.trace.event[ticks[i]]];
      const loud = info && (info.category === 'shm' || info.category === 'server');
      g.fillStyle = hue(CATEGORY[info?.category] ?? 0);
      g.fillRect(px, y + (loud ? -2 : 2), loud ? 2.5 : 1.5, loud ? 13 : 7);
      i = Math.max(i + 1, this.firstTick(ticks, this.t(px + 1), i + 1));
    }
  }

  firstTick(ticks, t, low = 0) {
    let high = ticks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.trace.time[ticks[middle]] < t) low = middle + 1; else high = middle;
    }
    return low;
  }

  drawLosses(g) {
    for (const [hart, , after, before] of this.trace.losses) {
      const lane = this.model.shown.find((l) => l.hart === hart);
      if (!lane || before < this.t0 || after > this.t1) continue;
      g.fillStyle = hue(0);
      g.globalAlpha = 0.55;
      g.fillRect(Math.max(GUTTER, this.x(after)), AXIS + lane.y - this.scroll + lane.height - 5, Math.max(2, this.x(before) - this.x(after)), 3);
      g.globalAlpha = 1;
    }
  }

  // From the client that queues to the server that takes it, from step to step there, and back to the client when it is
  // released.
  drawArrows(g) {
    const time = this.trace.time;
    const first = this.trace.requests.findIndex((q) => time[q.steps.complete ?? q.steps.enqueue ?? 0] >= this.t0);
    if (first < 0) return;
    const shown = this.trace.requests.slice(first, first + 200).filter((q) => time[q.steps.enqueue ?? 0] <= this.t1);
    if (shown.length >= 120) return;
    for (const q of shown) {
      const client = this.model.laneOf(q.client), server = this.model.laneOf(q.server);
      if (!client || !server) continue;
      const [cy, sy] = [client, server].map((l) => AXIS + l.y - this.scroll + 8);
      if (q.steps.enqueue !== undefined && q.steps.dequeue !== undefined) this.arrow(g, this.x(time[q.steps.enqueue]), cy, this.x(time[q.steps.dequeue]), sy);
      const there = ['dequeue', 'state', 'unmap'].map((step) => q.steps[step]).filter((i) => i !== undefined);
      for (let k = 1; k < there.length; k++) this.along(g, this.x(time[there[k - 1]]), this.x(time[there[k]]), sy - 7);
      const last = q.steps.complete ?? q.steps.unmap;
      if (last !== undefined) this.arrow(g, this.x(time[last]), sy, this.x(time[last]) + 9, cy);
    }
  }

  arrow(g, x0, y0, x1, y1) {
    if (Math.max(x0, x1) < GUTTER) return;
    g.strokeStyle = g.fillStyle = hue(CATEGORY.shm);
    g.lineWidth = 1.6;
    g.beginPath();
    g.moveTo(x0, y0);
    g.bezierCurveTo(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2, x1, y1);
    g.stroke();
    g.lineWidth = 1;
    const down = Math.sign(y1 - y0) * 6;
    g.beginPath();
    g.moveTo(x1, y1);
    g.lineTo(x1 - 3.5, y1 - down);
    g.lineTo(x1 + 3.5, y1 - down);
    g.fill();
  }

  // A step to the right, if there is room to see one.
  along(g, x0, x1, y) {
    const left = Math.max(x0, GUTTER), tip = Math.min(x1, this.width);
    if (tip - left < 10) return;
    g.fillStyle = hue(CATEGORY.shm);
    g.fillRect(left, y - 0.6, tip - left - 5, 1.2);
    g.beginPath();
    g.moveTo(tip, y);
    g.lineTo(tip - 6, y - 3);
    g.lineTo(tip - 6, y + 3);
    if (tip === x1) g.fill();
  }

  drawMarks(g) {
    if (this.chosen >= 0) {
      const x = this.x(this.trace.time[this.chosen]);
      if (x >= GUTTER) { g.fillStyle = this.colours.mark; g.fillRect(x - 0.75, AXIS - 6, 1.5, this.height); }
    }
    if (this.drag?.mark !== undefined) {
      g.fillStyle = this.colours.mark;
      g.globalAlpha = 0.2;
      g.fillRect(Math.min(this.drag.x, this.drag.mark), AXIS, Math.abs(this.drag.mark - this.drag.x), this.height);
      g.globalAlpha = 1;
    }
  }

  // How many events over time, and the part in view.
  drawOverview() {
    const w = this.overview.clientWidth || 800, h = 34, g = prepare(this.overview, w, h);
    const [a, b] = this.whole, time = this.trace.time;
    if (!this.density || this.density.length !== w) {
      this.density = new Uint32Array(w);
      for (let px = 0, i = 0; px < w; px++) {
        const next = lowerBound(time, a + (px + 1) / w * (b - a), i);
        this.density[px] = next - i;
        i = next;
      }
    }
    const most = this.density.reduce((m, v) => Math.max(m, v), 1);
    g.fillStyle = css('--accent');
    for (let px = 0; px < w; px++) {
      const v = this.density[px] && 2 + Math.log1p(this.density[px]) / Math.log1p(most) * (h - 6);
      if (v) g.fillRect(px, h - v, 1, v);
    }
    const x0 = (this.t0 - a) / (b - a) * w, x1 = (this.t1 - a) / (b - a) * w;
    g.fillStyle = this.colours.mark;
    g.globalAlpha = 0.22;
    g.fillRect(x0, 0, Math.max(2, x1 - x0), h);
    g.globalAlpha = 1;
    g.strokeStyle = this.colours.mark;
    g.strokeRect(x0 + 0.5, 0.5, Math.max(2, x1 - x0) - 1, h - 1);
  }

  fit(g, text, width) {
    if (g.measureText(text).width <= width) return text;
    let n = Math.max(0, Math.floor(text.length * width / g.measureText(text).width) - 1);
    return n > 1 ? text.slice(0, n) + '…' : '';
  }

  laneAt(y) {
    const at = y - AXIS + this.scroll;
    return y < AXIS ? undefined : this.model.shown.find((l) => at >= l.y && at < l.y + l.height);
  }

  // What is under the pointer: {lines, record}.
  under(x, y) {
    const lane = this.laneAt(y), t = this.t(x), slack = (this.t1 - this.t0) / this.width * 4;
    if (!lane || x < GUTTER) return lane && {lines: [lane.title], record: -1};
    const spanAt = (s) => {
      if (!s) return -1;
      const i = lowerBound(s.end, t);
      return i < s.start.length && s.start[i] <= t + slack / 4 ? i : -1;
    };
    const lines = [];
    let record = -1;
    if (lane.ticks) {
      const k = this.firstTick(lane.ticks, t - slack);
      if (k < lane.ticks.length && this.trace.time[lane.ticks[k]] <= t + slack) {
        record = lane.ticks[k];
        lines.push(this.trace.line(record));
        const q = this.model.requestOf.get(record);
        if (q !== undefined) lines.push(this.stepText(q, record));
      }
    }
    const n = spanAt(lane.spans), s = lane.spans;
    if (lane.kind === 'process' && spanAt(lane.calls) >= 0) {
      const c = spanAt(lane.calls);
      lines.push(`system call ${this.trace.values.syscall?.[lane.calls.tag[c]]}, ${duration(this.trace, lane.calls.end[c] - lane.calls.start[c])}`);
      if (record < 0) record = lane.calls.ref[c];
    }
    if (n >= 0) {
      const long = duration(this.trace, s.end[n] - s.start[n]);
      if (lane.kind === 'process') lines.push(`${lane.title}: ${s.tag[n]} for ${long}`);
      if (lane.kind === 'hart') lines.push(`${lane.title} runs ${this.runs(s, n)} for ${long}`);
      if (lane.kind === 'request') {
        const q = this.trace.requests[s.ref[n]];
        lines.push(`request ${q.number}: ${q.size} bytes, client ${q.client} ${this.trace.lastProgram(q.client)}, server ${q.server}`, `${PHASES[s.tag[n]]}: ${long}, until ${s.tag[n]}`);
      }
      if (record < 0) record = lane.kind === 'request' ? this.trace.requests[s.ref[n]].steps[s.tag[n]] : s.ref[n];
    }
    return {lines: lines.length ? lines : [lane.title], record};
  }

  stepText(n, i) {
    const q = this.trace.requests[n], step = Object.keys(q.steps).find((k) => q.steps[k] === i);
    const found = this.trace.steps.find(([name]) => name === step);
    return found ? `request ${q.number}: ${found[1]}` : '';
  }

  listen() {
    const c = this.canvas;
    c.addEventListener('wheel', (e) => {
      e.preventDefault();
      if (e.ctrlKey || e.metaKey || this.model.height <= this.height - AXIS) {
        if (Math.abs(e.deltaX) > Math.abs(e.deltaY)) this.move(e.deltaX / this.width * (this.t1 - this.t0));
        else this.zoom(Math.exp(Math.max(-1, Math.min(1, e.deltaY / 240))), this.t(e.offsetX));
      } else if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) this.move((e.deltaX || e.deltaY) / this.width * (this.t1 - this.t0));
      else { this.scroll += e.deltaY; this.redraw(); }
    }, {passive: false});
    c.addEventListener('pointerdown', (e) => {
      c.setPointerCapture(e.pointerId);
      if (this.drag && e.pointerType === 'touch') { this.pinch = {id: e.pointerId, from: Math.abs(e.offsetX - this.drag.x)}; return; }
      this.drag = {x: e.offsetX, y: e.offsetY, t0: this.t0, t1: this.t1, scroll: this.scroll, moved: false, mark: e.shiftKey ? e.offsetX : undefined};
    });
    c.addEventListener('pointermove', (e) => this.pointer(e));
    c.addEventListener('pointerup', (e) => this.release(e));
    c.addEventListener('pointerleave', () => hideTip());
    c.addEventListener('dblclick', (e) => this.zoom(0.25, this.t(e.offsetX)));
    const look = (e) => {
      const [a, b] = this.whole, t = a + e.offsetX / this.overview.clientWidth * (b - a), half = (this.t1 - this.t0) / 2;
      if (e.type === 'pointerdown') { this.overview.setPointerCapture(e.pointerId); this.from = t; }
      if (e.type === 'pointerup') {
        if (Math.abs(t - this.from) > (b - a) * 0.005) this.show(Math.min(t, this.from), Math.max(t, this.from));
        else this.show(t - half, t + half);
        this.from = undefined;
      }
    };
    this.overview.addEventListener('pointerdown', look);
    this.overview.addEventListener('pointerup', look);
  }

  pointer(e) {
    if (this.pinch && e.pointerId === this.pinch.id) {
      const now = Math.abs(e.offsetX - this.drag.x) || 1;
      this.zoom(this.pinch.from / now, this.t((e.offsetX + this.drag.x) / 2));
      this.pinch.from = now;
      this.drag.moved = true;
      return;
    }
    const d = this.drag;
    if (!d) {
      const found = this.under(e.offsetX, e.offsetY);
      if (found) showTip(e, found.lines.join('\n')); else hideTip();
      return;
    }
    hideTip();
    if (Math.abs(e.offsetX - d.x) + Math.abs(e.offsetY - d.y) > 4) d.moved = true;
    if (d.mark !== undefined) { d.mark = e.offsetX; this.redraw(); return; }
    if (!d.moved) return;
    const by = (d.x - e.offsetX) / (this.width - GUTTER) * (d.t1 - d.t0);
    this.t0 = d.t0 + by;
    this.t1 = d.t1 + by;
    this.scroll = d.scroll + d.y - e.offsetY;
    this.redraw();
  }

  release(e) {
    const d = this.drag;
    if (this.pinch?.id === e.pointerId) { this.pinch = null; return; }
    this.drag = null;
    if (!d) return;
    if (d.mark !== undefined && d.moved) {
      const [a, b] = [this.t(d.x), this.t(d.mark)].sort((p, q) => p - q);
      this.show(a, b);
    } else if (!d.moved) {
      const found = this.under(e.offsetX, e.offsetY);
      this.lane = this.laneAt(e.offsetY) ?? this.lane;
      this.choose(found && found.record >= 0 ? found.record : this.trace.at(this.t(e.offsetX)));
    }
    this.redraw();
  }

  // The next (by = 1) or previous (-1) event of the lane chosen, or of the run.
  step(by) {
    const ticks = this.lane?.ticks;
    if (!ticks) { this.choose(Math.max(0, Math.min(this.trace.count - 1, this.chosen + by))); return; }
    let k = lowerBound(ticks, this.chosen);
    if (by > 0 && ticks[k] === this.chosen) k++;
    if (by < 0) k--;
    if (k >= 0 && k < ticks.length) this.choose(ticks[k]);
  }
}

function showTip(e, text) {
  const tip = document.getElementById('tip');
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(e.clientX + 14, innerWidth - box.width - 8)) + 'px';
  tip.style.top = Math.max(4, e.clientY + 18 + box.height > innerHeight ? e.clientY - box.height - 10 : e.clientY + 18) + 'px';
}
function hideTip() { document.getElementById('tip').hidden = true; }
