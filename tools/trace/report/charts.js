'use strict';
// The still parts: latencies of requests, verdicts of the rules, numbers of processes and events.

function element(tag, text, className) {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

function row(tag, cells) {
  const tr = element('tr');
  tr.append(...cells.map((c) => element(tag, c)));
  return tr;
}

// A small histogram with boxes that double in width; the median is marked.
function histogram(trace, name, values) {
  const figure = element('figure'), boxes = [];
  for (const v of values) {
    const box = Math.max(0, Math.floor(Math.log2(Math.max(1, v / trace.us * 10))));
    boxes[box] = (boxes[box] || 0) + 1;
  }
  const first = boxes.findIndex((n) => n), n = boxes.length - first, most = Math.max(...boxes.filter(Boolean));
  const W = 160, H = 56, w = W / Math.max(n, 6);
  const sorted = [...values].sort((a, b) => a - b), median = sorted[sorted.length >> 1];
  let bars = '';
  for (let k = 0; k < n; k++) {
    const count = boxes[first + k] || 0, h = count ? 3 + count / most * (H - 5) : 0;
    const low = 2 ** (first + k) / 10;
    bars += `<rect x="${k * w + 1}" y="${H - h}" width="${w - 2}" height="${h}" rx="2"><title>${low.toFixed(1)} to ${(2 * low).toFixed(1)} µs: ${count}</title></rect>`;
  }
  figure.innerHTML = `<svg viewBox="0 0 ${W} ${H + 2}" width="100%" fill="var(--accent)" role="img"><rect x="0" y="${H}" width="${W}" height="1" fill="var(--line)"/>${bars}</svg>`;
  figure.append(element('figcaption', `${name}: median ${duration(trace, median)}`));
  return figure;
}

function drawLatency(trace) {
  const done = trace.requests.filter((q) => 'complete' in q.steps).length;
  document.getElementById('latency-what').textContent =
    trace.requests.length ? `${trace.requests.length} requests, ${done} completed` : 'none in this trace';
  const box = document.getElementById('histograms');
  for (const [from, to] of trace.stages) {
    const values = trace.requests.filter((q) => from in q.steps && to in q.steps)
      .map((q) => trace.time[q.steps[to]] - trace.time[q.steps[from]]);
    if (values.length) box.append(histogram(trace, `${from} → ${to}`, values));
  }
  const table = document.getElementById('stages'), stages = Object.entries(trace.stats.stages);
  if (!stages.length) return;
  const names = ['min', 'median', 'p90', 'p99', 'max'];
  table.append(row('th', ['microseconds', 'count', ...names]));
  for (const [name, s] of stages) table.append(row('td', [name, s.count, ...names.map((k) => s[k].toFixed(1))]));
}

function drawVerdicts(trace, choose) {
  const list = document.getElementById('verdicts'), marks = {ok: '✓', broken: '✗', undecided: '?'};
  const order = {broken: 0, undecided: 1, ok: 2};
  const tally = (word) => trace.verdicts.filter((v) => v.word === word).length;
  document.getElementById('rules-what').textContent =
    `${tally('ok')} hold, ${tally('broken')} broken, ${tally('undecided')} undecided`;
  for (const v of [...trace.verdicts].sort((a, b) => order[a.word] - order[b.word])) {
    const item = element('li');
    item.append(element('span', `${marks[v.word]} ${v.word}`, `badge ${v.word}`), element('span', v.demand));
    if (v.reason) item.append(element('small', ` — ${v.reason}`));
    for (const x of v.violations) {
      const link = element('a', x.text);
      link.tabIndex = 0;
      link.onclick = () => choose(x.records[x.records.length - 1]);
      link.onkeydown = (e) => { if (e.key === 'Enter') link.onclick(); };
      item.append(link);
    }
    if (v.count > v.violations.length) item.append(element('small', `${v.count - v.violations.length} more`));
    list.append(item);
  }
}

function drawNumbers(trace) {
  const table = document.getElementById('processes'), processes = Object.entries(trace.stats.processes);
  table.append(row('th', ['process', 'running, µs', 'ready', 'asleep']));
  const busiest = processes.sort((a, b) => b[1].running - a[1].running).slice(0, 200);
  for (const [pid, p] of busiest) {
    table.append(row('td', [`${pid} ${p.program}`, ...[p.running, p.ready, p.asleep].map((v) => v.toFixed(0))]));
  }
  const counts = Object.entries(trace.stats.events).sort((a, b) => b[1] - a[1]), most = counts.length ? counts[0][1] : 1;
  const box = document.getElementById('counts');
  for (const [name, n] of counts) {
    const line = element('div', undefined, 'count'), bar = element('div');
    bar.style.width = `${Math.sqrt(n / most) * 100}%`;
    line.append(element('span', name), bar, element('span', n.toLocaleString('en')));
    box.append(line);
  }
  const locks = Object.entries(trace.stats.locks).slice(0, 12);
  if (locks.length) {
    const t = element('table');
    t.append(row('th', ['lock', 'waits', 'waited, µs', 'longest']));
    for (const [name, l] of locks) t.append(row('td', [name, l.count, l.waited.toFixed(1), l.longest.toFixed(1)]));
    box.append(t);
  }
}

function drawLegends(trace) {
  const legend = (id, rows) => {
    document.getElementById(id).innerHTML = rows.map(([style, text]) => `<span><i style="${style}"></i>${text}</span>`).join('');
  };
  legend('memory-legend', [[`background:${hue(212)}`, 'code'], [`background:${hue(48)}`, 'read only'], [`background:${hue(150)}`, 'writable'],
    [`background:linear-gradient(135deg, ${hue(150)} 50%, ${hue(48)} 50%)`, 'copy on write'],
    ['background:none;box-shadow:inset 0 0 0 2.5px var(--shared)', 'shared'], ['background:var(--soft)', 'kernel']]);
  const categories = [...new Set(Object.values(trace.table).map((info) => info.category))];
  legend('help-legend', categories.map((c) => [`background:${hue(CATEGORY[c] ?? 0)}`, c]));
}
