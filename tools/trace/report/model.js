'use strict';
// What the timeline draws, made from the records: lanes of spans and of ticks. A lane's spans do not overlap.

// Colours that are told apart on light and on dark, and by most colour-blind readers.
const HUES = [212, 28, 150, 275, 340, 95, 185, 48, 245, 5, 310, 120];
const CATEGORY = {shm: 326, server: 20, proc: 212, sched: 260, sys: 185, mem: 95, frame: 48, lock: 5, user: 300, trace: 0};

function dark() { return document.documentElement.dataset.theme === 'dark'; }
function hue(h, strength = 1) {
  return dark() ? `hsl(${h} ${62 * strength}% ${58 - 22 * (1 - strength)}%)` : `hsl(${h} ${66 * strength}% ${(h > 40 && h < 200 ? 40 : 48) + 30 * (1 - strength)}%)`;
}

class Spans {
  constructor() { this.start = []; this.end = []; this.tag = []; this.ref = []; }
  add(start, end, tag, ref) { this.start.push(start); this.end.push(end); this.tag.push(tag); this.ref.push(ref); }
  freeze() { this.start = Float64Array.from(this.start); this.end = Float64Array.from(this.end); return this; }
}

class Model {
  constructor(trace) {
    this.trace = trace;
    this.pids = [...new Set([...trace.pid, ...Object.keys(trace.history).map(Number)])].filter((p) => p > 0).sort((a, b) => a - b);
    this.hueOf = new Map(this.pids.map((pid, i) => [pid, HUES[i % HUES.length]]));
    this.byPid = new Map(this.pids.map((pid) => [pid, []]));
    for (let i = 0; i < trace.count; i++) {
      if (trace.pid[i] > 0 && trace.emitted[i]) this.byPid.get(trace.pid[i]).push(i);
    }
    for (const [pid, list] of this.byPid) this.byPid.set(pid, Uint32Array.from(list));
    this.harts = this.running();
    this.states = this.processStates();
    this.calls = this.systemCalls();
    this.requestOf = new Map();
    trace.requests.forEach((q, n) => Object.values(q.steps).forEach((i) => this.requestOf.set(i, n)));
    this.lanes = this.makeLanes();
  }

  colour(pid) { return hue(this.hueOf.get(pid) ?? 0); }

  // Who ran on each hart; the ref of a span is the record of the switch to it.
  running() {
    const t = this.trace, out = [], current = new Map();
    for (const i of t.of('switch')) {
      const hart = t.hart[i];
      out[hart] ??= new Spans();
      const [pid, since, ref] = current.get(hart) ?? [0, 0, 0];
      if (pid) out[hart].add(since, t.time[i], pid, ref);
      current.set(hart, [t.arg(i, 2), t.time[i], i]);
    }
    for (const [hart, [pid, since, ref]] of current) if (pid) out[hart].add(since, t.end, pid, ref);
    return out.map((s) => s?.freeze());
  }

  // Running, ready, asleep: tags 'running', 'ready', 'asleep'.
  processStates() {
    const t = this.trace, out = new Map(), now = new Map();
    const SLEEPING = 2, RUNNABLE = 3;
    const leave = (pid, time) => {
      const state = now.get(pid);
      if (!state) return;
      if (!out.has(pid)) out.set(pid, new Spans());
      out.get(pid).add(state[1], time, state[0], state[2]);
      now.delete(pid);
    };
    const wakeup = t.id('wakeup');
    for (const i of t.of('switch', 'wakeup')) {
      const time = t.time[i];
      if (t.event[i] === wakeup) {
        const pid = t.arg(i, 0);
        if (now.get(pid)?.[0] === 'asleep') { leave(pid, time); now.set(pid, ['ready', time, i]); }
        continue;
      }
      const previous = t.arg(i, 0), state = t.arg(i, 1), next = t.arg(i, 2);
      if (previous && (now.get(previous)?.[0] ?? 'running') === 'running') {
        leave(previous, time);
        if (state === SLEEPING) now.set(previous, ['asleep', time, i]);
        if (state === RUNNABLE) now.set(previous, ['ready', time, i]);
      }
      if (next) { leave(next, time); now.set(next, ['running', time, i]); }
    }
    for (const pid of [...now.keys()]) leave(pid, t.end);
    for (const s of out.values()) s.freeze();
    return out;
  }

  // System calls by process; the tag is the call's number, the ref the record of its entry.
  systemCalls() {
    const t = this.trace, out = new Map(), open = new Map(), enter = t.id('sys_enter');
    const close = (pid, time) => {
      const i = open.get(pid);
      if (i === undefined) return;
      if (!out.has(pid)) out.set(pid, new Spans());
      out.get(pid).add(t.time[i], time, t.arg(i, 0), i);
      open.delete(pid);
    };
    for (const i of t.of('sys_enter', 'sys_exit', 'exit')) {
      close(t.pid[i], t.time[i]);
      if (t.event[i] === enter) open.set(t.pid[i], i);
    }
    for (const pid of [...open.keys()]) close(pid, t.end);
    for (const s of out.values()) s.freeze();
    return out;
  }

  // From top to bottom: requests, harts, processes.
  makeLanes() {
    const t = this.trace, lanes = [];
    const rows = [];
    t.requests.forEach((q, n) => {
      const steps = Object.entries(q.steps).sort((a, b) => a[1] - b[1]);
      const start = t.time[steps[0][1]], end = t.time[steps[steps.length - 1][1]];
      let row = rows.findIndex((r) => r.end < start);
      if (row < 0 && rows.length < 6) row = rows.push({end: 0, spans: new Spans()}) - 1;
      if (row < 0) row = rows.length - 1;
      steps.slice(1).forEach(([name, i], k) => rows[row].spans.add(t.time[steps[k][1]], t.time[i], name, n));
      rows[row].end = end;
    });
    rows.forEach((r, k) => lanes.push({kind: 'request', title: k ? '' : 'requests', spans: r.spans.freeze(), height: 22}));
    this.harts.forEach((spans, hart) => spans && lanes.push({kind: 'hart', title: `hart ${hart}`, hart, spans, height: 22}));
    for (const pid of this.pids) {
      const title = `${pid} ${t.lastProgram(pid)}`;
      lanes.push({kind: 'process', title, pid, spans: this.states.get(pid), calls: this.calls.get(pid),
        ticks: this.byPid.get(pid), height: 34});
    }
    const exits = new Map(t.of('exit').map((i) => [t.pid[i], t.time[i]]));
    for (const lane of lanes) {
      const first = lane.ticks?.[0];
      lane.from = lane.kind === 'request' ? lane.spans.start[0] : first === undefined || lane.pid in t.history && t.history[lane.pid][0][0] < 0 ? t.start : t.time[first];
      lane.to = lane.kind === 'request' ? lane.spans.end.at(-1) : exits.get(lane.pid) ?? t.end;
    }
    return lanes;
  }

  // Places the lanes of harts, requests and the processes that live some time in [t0, t1], one below the other.
  layout(t0, t1) {
    let y = 0;
    this.shown = this.lanes.filter((l) => (l.kind === 'request' && l.title) || l.kind === 'hart' || (l.from <= t1 && l.to >= t0));
    for (const lane of this.shown) { lane.y = y; y += lane.height; }
    this.height = y;
  }

  laneOf(pid) { return this.shown.find((l) => l.pid === pid); }
}
