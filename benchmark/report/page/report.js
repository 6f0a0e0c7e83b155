"use strict"; // The page follows `state`; `choose` changes it and draws what depends on it.
const $ = (id) => document.getElementById(id);
const root = document.documentElement;
const data = JSON.parse($("data").textContent);
const { methods, domains } = data;
// Values of single images come as float32 in base64.
const unpacked = (text) =>
  Array.from(new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer),
    (value) => (Number.isFinite(value) ? value : null));
for (const { images } of data.units) for (const name in images) images[name] = unpacked(images[name]);
const metric = Object.fromEntries(data.metrics.map((m) => [m.name, m]));
const units = new Map(data.units.map((u) => [[u.method, u.source, u.target].join(), u]));
const state = { view: "" };

const unitOf = (method) => units.get([method, state.source, state.target].join());
const idsOf = (unit) => (unit ? data.ids[unit.ids] : []);
const valueOf = (unit, name) => unit.images[name]?.[idsOf(unit).indexOf(state.view)] ?? null;

// Children that are texts stay texts: no name from a record is ever read as markup.
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function number(value, decimals) {
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value === null || value === undefined ? "–" : value.toLocaleString("en-US", digits);
}

function withInterval([value, low, high] = [], { decimals }) {
  return number(value, decimals) + (Number.isFinite(low) ? ` ± ${number((high - low) / 2, decimals)}` : "");
}

// Leaderboard -----------------------------------------------------------------------------------
const empty = (a, b) => (a === "") - (b === ""); // rows without a value stay last, either way
DataTable.type("figure", { order: { asc: (a, b) => empty(a, b) || a - b, desc: (a, b) => empty(a, b) || b - a } });
const board = new DataTable("#board", {
  paging: false, info: false, order: [], autoWidth: false, language: { search: "filter rows" },
  layout: { topStart: "search", topEnd: null, bottomStart: null, bottomEnd: null },
  columnDefs: [
    { targets: ".extra", visible: false },
    { targets: ".falling", orderSequence: ["desc", "asc", ""] },
    { targets: ".number", type: "figure", columnControl: [["searchNumber", "searchClear"]] },
    { targets: ".text", type: "string", columnControl: [["searchText", "searchClear"]] },
  ],
});
board.search.fixed("kinds", (text, row, place) => !methods[place].kind || $(methods[place].kind).checked).draw();

// Trade-off -------------------------------------------------------------------------------------
let chart, active;
const planeButtons = [...document.querySelectorAll("button[data-x]")];

function pointOf(_, place) {
  const scope = $("scope").value;
  const values = scope === "means" ? methods[place].means : units.get(`${place},${scope}`)?.values;
  const [x, xMin, xMax] = values?.[$("x-metric").value] ?? [];
  const [y, yMin, yMax] = values?.[$("y-metric").value] ?? [];
  const { kind } = methods[place];
  const hidden = kind && !$(kind).checked;
  if (hidden || x === undefined || y === undefined) return [];
  const anchor = planeButtons.some(({ dataset, ariaPressed }) =>
    ariaPressed === "true" && dataset.anchors.split(" ").includes(methods[place].name));
  const text = methods[place].text + (anchor ? " (anchor)" : "");
  return { x, xMin, xMax, y, yMin, yMax, place, ...methods[place], text };
}

// References that are far better than all methods are drawn at the left end of an axis of decades.
function drawnAt(point, left) {
  if (!point.reference || point.x >= left) return point;
  return { ...point, x: left, xMin: left, xMax: left, real: point, text: `${point.text} ← ${number(point.x, 2)}` };
}

function whiskers({ kind, colour }) {
  const shown = kind === "sweeps" ? "transparent" : colour;
  return { errorBarColor: shown, errorBarWhiskerColor: shown, errorBarWhiskerSize: 6 };
}

function datasets(card) {
  const points = methods.flatMap(pointOf);
  const across = points.filter(({ reference }) => !reference).map(({ x }) => x);
  const least = metric[$("x-metric").value].higher || !across.length ? -Infinity : Math.min(...across) / 3;
  const single = points.map((point) => drawnAt(point, least > 0 ? least : -Infinity)).map((point) => ({
    label: point.label + (point.reference ? " (reference)" : ""), data: [point], pointStyle: point.shape,
    borderColor: point.colour, backgroundColor: point.hollow ? card : point.colour, borderWidth: 2,
    radius: point.kind === "sweeps" ? 3 : 7, hoverRadius: 10, ...whiskers(point),
  }));
  const curves = data.curves.map((places) => ({
    type: "line", pointRadius: 0, pointHitRadius: 0, borderWidth: 1, borderColor: methods[places[0]].colour,
    data: places.flatMap((place) => pointOf(null, place)).map(({ x, y }) => ({ x, y })),
  }));
  return [...single, ...curves.filter((curve) => curve.data.length > 1)];
}

// Texts beside the points: each at the place near its point that covers least.
const names = {
  id: "names",
  afterDatasetsDraw(plot, _, { ink, card }) {
    const { ctx, chartArea } = plot;
    const shown = plot.data.datasets.flatMap(({ label, data: [point] }, k) => {
      const { x, y } = plot.getDatasetMeta(k).data[0];
      return label ? { point, x, y } : [];
    });
    ctx.save();
    Object.assign(ctx, { font: "12px system-ui, sans-serif", textBaseline: "middle", lineJoin: "round" });
    const marks = shown.map(({ x, y }) => [x - 8, y - 8, x + 8, y + 8]);
    const texts = [];
    for (const { point, x, y } of shown.filter((one) => one.point.kind !== "sweeps")) {
      const half = [ctx.measureText(point.text).width / 2 + 2, 7];
      const places = [11, 17, 25, 35, 47, 61].flatMap((away) => [...Array(16).keys()].map((step) => {
        const way = [Math.cos, Math.sin].map((part) => part((step * Math.PI) / 8));
        const [cx, cy] = [x, y].map((one, k) => one + way[k] * away + Math.max(-1, Math.min(1, 1.6 * way[k])) * half[k]);
        const box = [cx - half[0], cy - half[1], cx + half[0], cy + half[1]];
        const out = box[0] < chartArea.left || box[2] > chartArea.right || box[1] < chartArea.top || box[3] > chartArea.bottom;
        const covered = [...texts, ...marks].reduce((sum, other) => sum + common(box, other), 0);
        return { cx, cy, box, away, cost: away + covered + (out ? 1e4 : 0) };
      }));
      const best = places.reduce((one, other) => (other.cost < one.cost ? other : one));
      texts.push(best.box);
      if (best.away > 17) {
        const [ex, ey] = [x, y].map((one, k) => Math.max(best.box[k], Math.min(best.box[k + 2], one)));
        Object.assign(ctx, { strokeStyle: ink, lineWidth: 0.6 }).beginPath();
        ctx.moveTo(x, y);
        ctx.lineTo(ex, ey);
        ctx.stroke();
      }
      Object.assign(ctx, { textAlign: "center", strokeStyle: card, lineWidth: 3, fillStyle: ink });
      ctx.strokeText(point.text, best.cx, best.cy);
      ctx.fillText(point.text, best.cx, best.cy);
    }
    ctx.restore();
  },
};
const common = (a, b) => [0, 1].reduce((area, k) => area * Math.max(0, Math.min(a[k + 2], b[k + 2]) - Math.max(a[k], b[k])), 1);

function described({ real, ...drawn }) {
  const point = real ?? drawn;
  const values = ["x", "y"].map((name) => {
    const { label, decimals } = metric[$(`${name}-metric`).value];
    const [value, low, high] = ["", "Min", "Max"].map((end) => number(point[name + end], decimals));
    return `${label} ${value}` + (low === "–" ? "" : `, 95 % interval ${low} to ${high}`);
  });
  return point.knob ? [`${point.knob[0]} = ${point.knob[1]}`, ...values] : values;
}

function drawPlot() {
  const [ink, line, card] = ["--soft", "--line", "--card"].map((name) => getComputedStyle(root).getPropertyValue(name));
  for (const plane of planeButtons) {
    plane.ariaPressed = plane.dataset.x === $("x-metric").value && plane.dataset.y === $("y-metric").value;
  }
  const drawn = datasets(card);
  const axis = (name) => {
    const { label, higher } = metric[$(`${name}-metric`).value];
    // Distances span decades, similarities do not.
    const decades = !higher && drawn.every((one) => one.data.every((point) => point[name] > 0));
    return {
      type: decades ? "logarithmic" : "linear", grid: { color: line },
      ticks: { color: ink, maxRotation: 0, autoSkipPadding: 16, format: { maximumSignificantDigits: 3 } },
      title: { display: true, text: `${label} (${higher ? "higher" : "lower"} is better)`, color: ink },
    };
  };
  if (chart) chart.destroy();
  $("point").textContent = drawn.length ? "" : "No row has both values.";
  chart = drawn.length && new Chart($("plot"), {
    type: "scatterWithErrorBars", data: { datasets: drawn }, plugins: [names],
    options: {
      animation: false, maintainAspectRatio: false, layout: { padding: 12 }, scales: { x: axis("x"), y: axis("y") },
      onClick: (_, [hit]) => hit && openPoint(drawn[hit.datasetIndex].data[hit.index]),
      plugins: {
        legend: { display: false }, names: { ink, card },
        tooltip: { callbacks: { title: ([item]) => item?.raw.label, label: (item) => described(item.raw) } },
      },
    },
  });
}

function openPoint({ place }) {
  const [source, target] = $("scope").value.split(",").map(Number);
  choose(target >= 0 ? { method: place, source, target } : { method: place }, "pairs");
}

$("plot").addEventListener("keydown", (event) => {
  const points = methods.flatMap(pointOf);
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === "Enter" && points[active]) openPoint(points[active]);
  if (!by || !chart) return;
  event.preventDefault();
  active = points[active] ? (active + by + points.length) % points.length : 0;
  for (const part of [chart, chart.tooltip]) part.setActiveElements([{ datasetIndex: active, index: 0 }], {});
  chart.update();
  $("point").textContent = [points[active].label, ...described(points[active])].join("; ");
});

// Pairs -----------------------------------------------------------------------------------------
function drawMatrix() {
  const facts = metric[$("matrix-metric").value] ?? {};
  const cell = (source, target) => {
    const values = units.get([state.method, source, target].join())?.values[facts.name];
    const button = make("button", { type: "button", title: withInterval(values, facts) }, number(values?.[0], facts.decimals));
    button.addEventListener("click", () => choose({ source, target }, "pair-head"));
    const chosen = source === state.source && target === state.target;
    const td = make("td", { className: chosen ? "chosen" : "" }, source === target ? "" : button);
    if (values) td.style.background = `rgb(var(--tint) / ${values[3] / 2})`;
    return td;
  };
  $("matrix").tBodies[0].replaceChildren(...domains.map((name, source) =>
    make("tr", {}, make("th", { scope: "row" }, name), ...domains.map((_, target) => cell(source, target)))));
}

// One row per method that has the pair, one cell per metric.
function table(element, names, text) {
  element.tBodies[0].replaceChildren(...methods.flatMap(({ label, reference }, place) => {
    const unit = unitOf(place);
    const button = make("button", { type: "button", className: "pick" }, label);
    button.dataset.method = place;
    const className = `${reference ? "reference" : ""} ${place === state.method ? "chosen" : ""}`;
    const cells = unit ? names.map((name) => make("td", {}, text(unit, metric[name]))) : [];
    return unit ? make("tr", { className }, make("th", { scope: "row" }, button), ...cells) : [];
  }));
}

// Images ----------------------------------------------------------------------------------------
const files = {};

function pictureOf(unit, id) {
  const place = unit?.picture ? unit.picture.views.indexOf(idsOf(unit).indexOf(id)) : -1;
  return place < 0 ? null : { file: unit.picture.file, place, count: unit.picture.views.length };
}

// An image that was not translated: what the identity makes of its domain, whatever the target.
function original(domain, id) {
  const same = data.units.filter((u) => methods[u.method].name === "identity" && u.source === domain);
  return same.map((unit) => pictureOf(unit, id)).find(Boolean) ?? null;
}

// Draw one view; false if there is none, or if another was asked for meanwhile.
async function paint(canvas, picture) {
  canvas.wanted = picture;
  canvas.style.visibility = picture ? "" : "hidden";
  if (!picture) return false;
  const { file, place, count } = picture;
  const image = (files[file] ??= make("img", { src: `data:image/png;base64,${$(file).textContent}` }));
  await image.decode();
  if (canvas.wanted !== picture) return false;
  const [width, height] = [image.width / count, image.height];
  const context = Object.assign(canvas, { width, height }).getContext("2d", { willReadFrequently: true });
  context.drawImage(image, place * width, 0, width, height, 0, 0, width, height);
  if (data.bright) { // as in the files; stored pictures have bone dark
    Object.assign(context, { globalCompositeOperation: "difference", fillStyle: "white" });
    context.fillRect(0, 0, width, height);
  }
  return true;
}

// White where two pictures agree, full colour from a quarter of the grey range on.
function drawDifference(one, other) {
  const { width, height } = one;
  const [to, from] = [one, other].map((c) => c.getContext("2d").getImageData(0, 0, width, height).data);
  const drawn = new ImageData(width, height);
  let sum = 0;
  for (let i = 0; i < to.length; i += 4) {
    const change = (to[i] - from[i]) / 255;
    const colour = change > 0 ? [213, 94, 0] : [0, 114, 178];
    const part = Math.min(1, 4 * Math.abs(change));
    drawn.data.set([...colour.map((end) => 255 + (end - 255) * part), 255], i);
    sum += Math.abs(change);
  }
  Object.assign($("difference"), { width, height }).getContext("2d").putImageData(drawn, 0, 0);
  return (4 * sum) / to.length;
}

async function drawViewer() {
  const { source, target, view } = state;
  const name = methods[state.method].label;
  const canvases = ["after", "before", "truth"].map($);
  const truth = data.aligned ? original(target, view) : null;
  const pictures = [pictureOf(unitOf(state.method), view), original(source, view), truth];
  $("slider-caption").textContent = pictures[0]
    ? `left: source, ${domains[source]}; right: ${name}` : `no picture of ${name} for this view`;
  $("truth-caption").textContent = truth ? `true target, ${domains[target]}` : "the true target is not stored";
  const painted = await Promise.all(canvases.map((canvas, k) => paint(canvas, pictures[k])));
  if (pictures.some((picture, k) => canvases[k].wanted !== picture)) return;
  const against = $("against").selectedOptions[0];
  const both = painted[0] && painted[against.value] && canvases[0].width === canvases[against.value].width;
  const mean = both ? number(100 * drawDifference(canvases[0], canvases[against.value]), 1) : "";
  $("difference").style.visibility = both ? "" : "hidden";
  $("difference-caption").textContent = both
    ? `${name} minus ${against.text}: ${mean} % of the grey range on average` : "a picture is not stored";
}

// A long name keeps both its ends, which distinguish images; pointing at it shows all.
const short = (text) => (text.length > 30 ? `${text.slice(0, 14)}…${text.slice(-14)}` : text);

function thumb(picture, lines, chosen, changes, goTo) {
  const image = picture ? make("canvas") : make("span", { className: "absent" }, "not stored");
  if (picture) paint(image, picture);
  const texts = lines.map((line) => make("span", { title: line }, short(line)));
  const button = make("button", { type: "button", className: chosen ? "chosen" : "" }, image, ...texts);
  button.addEventListener("click", () => choose(changes, goTo));
  return button;
}

function drawThumbs() {
  $("thumbs").replaceChildren(...methods.flatMap(({ label }, method) => {
    const unit = unitOf(method);
    if (!unit) return [];
    const { name, label: head, decimals } = metric[data.perImage[0]] ?? {};
    const lines = name ? [label, `${head} ${number(valueOf(unit, name), decimals)}`] : [label];
    return thumb(pictureOf(unit, state.view), lines, method === state.method, { method });
  }));
}

function drawExtremes() {
  const { name, label, decimals, higher } = metric[$("extremes-metric").value] ?? {};
  const all = data.units.filter((unit) => unit.method === state.method && unit.images[name])
    .flatMap((u) => idsOf(u).map((view, k) => ({ ...u, view, value: u.images[name][k], shown: pictureOf(u, view) })))
    .filter(({ value, shown }) => value !== null && (shown || !$("pictured").checked))
    .sort((a, b) => (higher ? 1 : -1) * (a.value - b.value));
  const show = (id, entries) => $(id).replaceChildren(...entries.map(({ source, target, value, view, shown }) => {
    const lines = [`${label} ${number(value, decimals)}`, `${domains[source]} → ${domains[target]}`, view];
    return thumb(shown, lines, false, { source, target, view }, "images");
  }));
  show("worst", all.slice(0, data.extremes));
  show("best", all.slice(-data.extremes).reverse());
  $("extremes-absent").hidden = all.length > 0;
}

// Choosing --------------------------------------------------------------------------------------
function choose(changes, goTo) {
  const before = { ...state };
  const held = document.activeElement.closest("#matrix, #pair, #values, #thumbs")?.id;
  Object.assign(state, changes);
  if (state.source === state.target) Object.assign(state, { source: before.target, target: before.source });
  const { source, target } = data.units.find((unit) => unit.method === state.method);
  if (!unitOf(state.method) && !("source" in changes || "target" in changes)) Object.assign(state, { source, target });
  const ids = idsOf(methods.map((_, place) => unitOf((place + state.method) % methods.length)).find(Boolean));
  const pictured = ids.filter((id) => original(state.source, id) || pictureOf(unitOf(state.method), id));
  if (!ids.includes(state.view)) state.view = pictured[0] ?? ids[0] ?? "";
  const views = pictured.length ? ids.filter((id) => id === state.view || pictured.includes(id)) : ids;
  $("view").replaceChildren(...views.map((id) => make("option", { value: id, selected: id === state.view }, id)));
  for (const select of document.querySelectorAll("select[data-state]")) select.value = state[select.dataset.state];
  $("pair-head").textContent = `${domains[state.source]} → ${domains[state.target]}`;
  table($("pair"), data.perPair, (unit, m) => withInterval(unit.values[m.name], m));
  table($("values"), data.perImage, (unit, m) => number(valueOf(unit, m.name), m.decimals));
  for (const draw of [drawMatrix, drawViewer, drawThumbs, drawExtremes]) draw();
  // Those were drawn again: keep the keyboard's focus where it was.
  if (held) document.querySelector(`#${held} .chosen button, #${held} button.chosen`)?.focus({ preventScroll: true });
  if (goTo) $(goTo).scrollIntoView();
}

const step = (by) => {
  const { options, selectedIndex } = $("view");
  choose({ view: options[(selectedIndex + by + options.length) % options.length].value });
};
const property = (name, unit) => ({ target }) => root.style.setProperty(name, target.value + unit);
const inputs = {
  "x-metric": drawPlot, "y-metric": drawPlot, scope: drawPlot, "matrix-metric": drawMatrix, against: drawViewer,
  "extremes-metric": drawExtremes, pictured: drawExtremes, view: ({ target }) => choose({ view: target.value }),
  zoom: property("--zoom", ""), split: property("--split", "%"), references: () => drawPlot(board.draw()),
  sweeps: () => drawPlot(board.draw()), budgets: () => drawPlot(board.draw()),
  "all-columns": ({ target }) => board.columns(".extra").visible(target.checked),
};
const clicks = { previous: () => step(-1), next: () => step(1), theme: () => drawPlot(root.classList.toggle("dark")) };
for (const [id, act] of Object.entries(inputs)) $(id).addEventListener("input", act);
for (const [id, act] of Object.entries(clicks)) $(id).addEventListener("click", act);
document.addEventListener("input", ({ target: { dataset, value } }) => {
  if (dataset.state) choose({ [dataset.state]: Number(value) });
});
for (const plane of planeButtons) {
  plane.addEventListener("click", ({ target: { dataset } }) => {
    [$("x-metric").value, $("y-metric").value] = [dataset.x, dataset.y];
    drawPlot();
  });
}
document.addEventListener("click", ({ target }) => {
  const button = target.closest("button.pick");
  if (button) choose({ method: Number(button.dataset.method) }, target.closest("#board") && "pairs");
});
root.classList.toggle("dark", matchMedia("(prefers-color-scheme: dark)").matches);
drawPlot();
choose(data.start);
document.body.dataset.ready = "yes";
