'use strict';
// Puts the page together, and listens to the keyboard.

// The address may end in #dark or #light.
function theme(choice = ['#dark', '#light'].find((h) => h === location.hash)?.slice(1)) {
  document.documentElement.dataset.theme = choice ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
}

function headline(trace) {
  const a = trace.about, lost = trace.losses.reduce((n, l) => n + l[1], 0);
  const parts = [`${trace.count.toLocaleString('en')} events`, `${new Set(trace.hart).size} harts`, duration(trace, trace.end - trace.start)];
  if (lost) parts.push(`${lost.toLocaleString('en')} events lost`);
  document.getElementById('facts').textContent = parts.join(' · ');
  document.getElementById('about').textContent =
    `xv6-glass trace${a.created ? `, recorded ${a.created}` : ''}${a.kernel ? `, kernel ${a.kernel} ${a.build_id ?? ''}` : ''}`;
  for (const note of trace.notes) document.getElementById('warnings').append(element('p', note));
}

// What to look at first: the moment a request's pages are mapped, else the last event.
function firstMoment(trace) {
  const q = trace.requests.find((r) => 'map' in r.steps);
  if (q) return q.steps.map;
  const maps = trace.of('map');
  return maps.length ? maps[0] : trace.count - 1;
}

async function start() {
  theme();
  const description = JSON.parse(document.getElementById('description').textContent);
  const trace = new Trace(description, await inflate(document.getElementById('packed').textContent));
  const model = new Model(trace);
  const parts = {};
  const choose = (i) => {
    parts.timeline.select(i);
    parts.memory.show(i);
    parts.table.select(i);
    const q = model.requestOf.get(i);
    document.getElementById('moment').textContent = trace.line(i) + (q === undefined ? '' : ' — ' + parts.timeline.stepText(q, i));
  };
  headline(trace);
  drawLatency(trace);
  drawVerdicts(trace, choose);
  drawNumbers(trace);
  drawLegends(trace);
  parts.timeline = new Timeline(trace, model, choose);
  parts.memory = new Memory(trace, model, choose);
  parts.table = new EventTable(trace, choose);
  if (trace.requests.length) parts.timeline.requests();
  parts.timeline.resize(); // as tall as this view wants
  if (trace.count) choose(firstMoment(trace));
  keys(parts, choose);
  const repaint = () => {
    parts.timeline.resize();
    if (parts.memory.record !== undefined) parts.memory.draw();
    drawLegends(trace);
    parts.table.draw();
  };
  new ResizeObserver(() => { if (parts.timeline.canvas.clientWidth !== parts.timeline.width) repaint(); }).observe(document.body);
  const turn = () => { theme(dark() ? 'light' : 'dark'); repaint(); };
  document.getElementById('theme').onclick = turn;
  let before; // paper is light
  addEventListener('beforeprint', () => { before = dark() ? 'dark' : 'light'; theme('light'); repaint(); });
  addEventListener('afterprint', () => { theme(before); repaint(); });
  parts.turn = turn;
  window.page = {trace, model, choose, ...parts}; // for tests, and for the curious at the console
}

function keys(parts, choose) {
  const help = document.getElementById('help'), line = parts.timeline;
  document.getElementById('help-button').onclick = () => help.showModal();
  document.getElementById('help-close').onclick = () => help.close();
  for (const button of document.querySelectorAll('[data-zoom]')) {
    button.onclick = () => {
      const how = button.dataset.zoom;
      if (how === 'all') line.all(); else if (how === 'requests') line.requests(); else line.zoom(+how);
    };
  }
  const by = (part) => line.move((line.t1 - line.t0) * part);
  const actions = {
    ArrowLeft: () => by(-0.15), a: () => by(-0.15), ArrowRight: () => by(0.15), d: () => by(0.15),
    '+': () => line.zoom(0.6), '=': () => line.zoom(0.6), w: () => line.zoom(0.6), '-': () => line.zoom(1.6), s: () => line.zoom(1.6),
    0: () => line.all(), r: () => line.requests(), n: () => line.step(1), p: () => line.step(-1), t: () => parts.turn(),
    '?': () => help.showModal(), '/': () => parts.table.search.focus(),
  };
  document.addEventListener('keydown', (e) => {
    if (e.target.matches('input')) { if (e.key === 'Escape') e.target.blur(); return; }
    if (e.ctrlKey || e.metaKey || e.altKey || help.open || !(e.key in actions)) return;
    e.preventDefault();
    actions[e.key]();
  });
}

start().catch((error) => {
  document.getElementById('warnings').append(element('p', `This page could not be drawn: ${error.message}`));
  throw error;
});
