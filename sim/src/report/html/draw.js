// The timeline: lanes of nodes and clients with the faults through them, and a block for each partition.

const dark = matchMedia("(prefers-color-scheme: dark)");
const PALETTES = {
  light: ["#2563eb", "#c2410c", "#15803d", "#7c3aed", "#a16207", "#0e7490", "#be185d", "#4d7c0f"],
  dark: ["#6ea8ff", "#fb923c", "#4ade80", "#c99bff", "#facc15", "#22d3ee", "#f58bc0", "#b5e34d"],
};
/** Kinds of faults by what they touch: their colours as red, green, blue. */
const FAULTS = [
  { of: /^(partition|slow-link|loss|reset|drop-|delay-|duplicate-)/, name: "network fault", light: "124,58,237", dark: "190,150,255" },
  { of: /^(disk|corrupt|wipe)/, name: "disk fault", light: "161,98,7", dark: "250,204,21" },
  { of: /^clock/, name: "clock fault", light: "14,116,144", dark: "34,211,238" },
  { of: /./, name: "process fault", light: "192,28,40", dark: "255,123,123" },
];
const ROW = { axis: 24, fault: 15, lane: 24, head: 20, member: 8, chart: 72, gap: 10 };

const canvas = document.getElementById("lanes");
const overview = document.getElementById("overview");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const brokerColour = (id) => PALETTES[dark.matches ? "dark" : "light"][Math.max(0, id - 1) % 8];
const faultColour = (fault) => {
  const kind = FAULTS.find((kind) => kind.of.test(fault.action));
  return dark.matches ? kind.dark : kind.light;
};

/** Faults side by side where they overlap: the row of each. */
const faultRows = (() => {
  const ends = [];
  return RUN.faults.map((fault) => {
    // A moment takes room for its word too.
    const until = Math.max(fault.until ?? 0, fault.from + END / 14);
    let row = ends.findIndex((end) => end <= fault.from);
    if (row < 0) row = ends.length < 5 ? ends.push(0) - 1 : 4;
    ends[row] = until;
    return row;
  });
})();
const faultRowCount = Math.max(1, ...faultRows.map((row) => row + 1));

/** Each lane's events, turns and others apart, for their marks. */
const marks = RUN.lanes.map(() => ({ turns: [], others: [] }));
for (let event = 0; event < eventCount; event++) {
  const of = marks[events.lane[event]];
  if (of) (isTurn(event) ? of.turns : of.others).push(events.at[event]);
}

/** What stands where, from top to bottom. */
function layout(shown) {
  const rows = [];
  let y = 0;
  const add = (height, row) => { rows.push({ ...row, y, height }); y += height; };
  add(ROW.axis, { kind: "axis" });
  if (RUN.faults.length) add(faultRowCount * ROW.fault + 6, { kind: "faults" });
  shown.lanes.forEach((lane) => add(ROW.lane, { kind: "lane", lane }));
  for (const partition of shown.partitions) {
    const members = replicasOf[partition].length;
    add(ROW.gap, { kind: "gap" });
    add(ROW.head, { kind: "leader", partition });
    if (members) add(members * ROW.member + 4, { kind: "isr", partition });
    if (members) add(ROW.chart, { kind: "chart", partition });
  }
  return { rows, height: y + 4 };
}

function fitCanvas(element, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = element.clientWidth;
  element.style.height = `${height}px`;
  element.width = Math.round(width * ratio);
  element.height = Math.round(height * ratio);
  const pen = element.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.textBaseline = "middle";
  return [pen, width];
}

const gutter = () => (canvas.clientWidth < 900 ? 92 : 124);
const xOf = (view, width, at) => gutter() + ((at - view.from) / (view.until - view.from)) * (width - gutter());
const atOf = (view, width, x) => view.from + ((x - gutter()) / (width - gutter())) * (view.until - view.from);

/** Draws everything. `view`: from, until, cursor, lanes, partitions. */
function drawAll(view) {
  const { rows, height } = layout(view);
  const [pen, width] = fitCanvas(canvas, height);
  const draw = { pen, width, height, view, x: (at) => xOf(view, width, at), ink: css("--ink"), dim: css("--dim"), line: css("--line"), paper: css("--paper"), raised: css("--raised"), bad: css("--bad"), good: css("--good"), cursor: css("--cursor") };
  pen.save();
  pen.beginPath();
  pen.rect(gutter(), 0, width - gutter(), height);
  pen.clip();
  const lanes = rows.filter((row) => row.kind === "lane");
  drawFaultBands(draw, lanes);
  for (const row of rows) DRAW[row.kind]?.(draw, row);
  drawMoments(draw);
  pen.restore();
  for (const row of rows) drawLabel(draw, row);
  drawOverview(view);
  return rows;
}

const DRAW = { axis: drawAxis, faults: drawFaults, lane: drawLane, leader: drawLeader, isr: drawIsr, chart: drawChart };

function drawLabel({ pen, dim, ink }, row) {
  const room = gutter() - 10;
  const write = (text, y, colour, font = "12px system-ui, sans-serif", indent = 8) => {
    pen.font = font;
    pen.fillStyle = colour;
    pen.fillText(cut(pen, text, room - indent + 8), indent, y);
  };
  const middle = row.y + row.height / 2;
  if (row.kind === "faults") write("what was done", row.y + 10, dim);
  if (row.kind === "lane") write(laneName(row.lane), middle, ink);
  if (row.kind === "leader") write(RUN.partitions[row.partition], middle, ink, "600 12px system-ui, sans-serif");
  if (row.kind === "isr") write("in sync", row.y + row.height / 2, dim, "11px system-ui, sans-serif", 16);
  if (row.kind === "chart") {
    write("log ends —", row.y + 16, dim, "11px system-ui, sans-serif", 16);
    write("watermark ┄", row.y + 32, dim, "11px system-ui, sans-serif", 16);
    if (!row.range) return;
    pen.textAlign = "right";
    pen.font = "10px system-ui, sans-serif";
    pen.fillText(row.range[1], gutter() - 5, row.y + 7);
    pen.fillText(row.range[0], gutter() - 5, row.y + row.height - 8);
    pen.textAlign = "left";
  }
}

function cut(pen, text, room) {
  if (pen.measureText(text).width <= room) return text;
  while (text.length > 1 && pen.measureText(text + "…").width > room) text = text.slice(0, -1);
  return text + "…";
}

function drawAxis({ pen, width, height, view, x, dim, line }, row) {
  const span = view.until - view.from;
  const wanted = (span / (width - gutter())) * 90;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= wanted);
  const digits = Math.min(9, Math.max(0, 9 - Math.floor(Math.log10(step))));
  pen.font = "11px system-ui, sans-serif";
  for (let at = Math.ceil(view.from / step) * step; at <= view.until; at += step) {
    pen.fillStyle = line;
    pen.fillRect(Math.round(x(at)), row.y + 16, 1, height);
    pen.fillStyle = dim;
    pen.fillText(seconds(at, digits), x(at) + 3, row.y + 9);
  }
}

/** Each fault through the lanes of those it was done to. */
function drawFaultBands({ pen, x }, lanes) {
  for (const fault of RUN.faults) {
    if (!fault.isFault) continue;
    const colour = faultColour(fault);
    const from = x(fault.from), until = fault.until === null ? from + 2 : x(fault.until);
    for (const row of lanes) {
      if (fault.lanes.length && !fault.lanes.includes(row.lane)) continue;
      pen.fillStyle = `rgba(${colour},${fault.lanes.length ? 0.2 : 0.09})`;
      pen.fillRect(from, row.y + 1, Math.max(2, until - from), row.height - 2);
      pen.fillStyle = `rgb(${colour})`;
      pen.fillRect(from, row.y + 1, 1.5, row.height - 2);
    }
  }
}

/** What was done, and to whom. */
function wordsOf(fault) {
  if (fault.details.startsWith("between")) return `${fault.action} ${fault.details}`;
  const whom = fault.lanes.length > 3 ? `${fault.lanes.length} nodes` : fault.lanes.map(laneName).join(", ");
  return whom ? `${fault.action} ${whom}` : `${fault.action} ${fault.details}`;
}

/** The same with their words. */
function drawFaults({ pen, x, ink, width }, row) {
  RUN.faults.forEach((fault, index) => {
    const y = row.y + 2 + faultRows[index] * ROW.fault;
    const from = x(fault.from), until = fault.until === null ? from + 3 : x(fault.until);
    if (until < gutter() || from > width) return;
    const colour = fault.isFault ? faultColour(fault) : "128,128,128";
    pen.fillStyle = `rgba(${colour},0.3)`;
    pen.fillRect(from, y, Math.max(3, until - from), ROW.fault - 2);
    pen.fillStyle = `rgb(${colour})`;
    pen.fillRect(from, y, 2, ROW.fault - 2);
    const next = RUN.faults.findIndex((later, place) => place > index && faultRows[place] === faultRows[index] && later.from > fault.from);
    const room = (next < 0 ? width : x(RUN.faults[next].from)) - Math.max(from, gutter()) - 8;
    if (room < 12) return;
    pen.fillStyle = ink;
    pen.font = "11px system-ui, sans-serif";
    pen.fillText(cut(pen, wordsOf(fault), room), Math.max(from, gutter()) + 5, y + ROW.fault / 2 - 0.5);
  });
}

function hatch(pen, colour) {
  const tile = new OffscreenCanvas(7, 7);
  const tilePen = tile.getContext("2d");
  tilePen.strokeStyle = colour;
  tilePen.lineWidth = 1.2;
  tilePen.beginPath();
  for (const shift of [-7, 0, 7]) { tilePen.moveTo(shift, 7); tilePen.lineTo(shift + 7, 0); }
  tilePen.stroke();
  return pen.createPattern(tile, "repeat");
}

function drawLane({ pen, width, view, x, dim, line, ink, paper, raised }, row) {
  pen.fillStyle = line;
  pen.fillRect(gutter(), row.y + row.height - 1, width, 1);
  const middle = row.y + row.height / 2;
  const isBroker = RUN.lanes[row.lane].kind === "broker";
  for (const { from, until, state } of processes[row.lane]) {
    const [left, right] = [x(from), x(until)];
    if (state === "runs") {
      pen.fillStyle = isBroker ? brokerColour(RUN.lanes[row.lane].id) : dim;
      pen.globalAlpha = 0.75;
      pen.fillRect(left, middle - 1, right - left, 2);
      pen.globalAlpha = 1;
    } else if (state !== "not started") {
      pen.fillStyle = raised;
      pen.fillRect(left, row.y + 3, right - left, row.height - 7);
      const isClient = RUN.lanes[row.lane].kind === "client", word = isClient && state === "down" ? "ended" : state;
      pen.fillStyle = isClient ? raised : hatch(pen, state === "down" ? dim : line);
      pen.fillRect(left, row.y + 3, right - left, row.height - 7);
      if (Math.min(right, width) - Math.max(left, gutter()) > 50) {
        pen.font = "600 11px system-ui, sans-serif";
        const at = Math.max(left, gutter()) + 6, text = pen.measureText(word).width;
        pen.fillStyle = paper;
        pen.fillRect(at - 3, middle - 7, text + 6, 13);
        pen.fillStyle = ink;
        pen.fillText(word, at, middle);
      }
    }
  }
  for (const { from, until } of actives[row.lane]) {
    pen.fillStyle = ink;
    pen.fillRect(x(from), row.y + row.height - 5, Math.max(1, x(until) - x(from)), 3);
  }
  const { turns, others } = marks[row.lane];
  // So many others in a pixel: told by how dark the mark is.
  pen.fillStyle = dim;
  for (let left = gutter(); left < width; left += 2) {
    const [from, until] = [atOf(view, width, left), atOf(view, width, left + 2)];
    const count = lastUntil(others, until) - lastUntil(others, from);
    if (!count) continue;
    pen.globalAlpha = Math.min(0.75, 0.25 + count / 40);
    pen.fillRect(left, middle - 3, 2, 6);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = ink;
  let before = -10;
  for (let place = lastUntil(turns, view.from) + 1; place < turns.length && turns[place] <= view.until; place++) {
    const left = Math.round(x(turns[place]));
    if (left - before < 3) continue;
    pen.beginPath();
    pen.moveTo(left, middle - 5); pen.lineTo(left + 4, middle); pen.lineTo(left, middle + 5); pen.lineTo(left - 4, middle);
    pen.fill();
    before = left;
  }
}

/** Who leads a partition, and in which epoch. */
function drawLeader({ pen, width, x, paper, bad, raised }, row) {
  const versions = RUN.versions[row.partition];
  versions.forEach(([at, leader, epoch], index) => {
    if (index && versions[index - 1][1] === leader && versions[index - 1][2] === epoch) return;
    const after = versions.slice(index).find((later) => later[1] !== leader || later[2] !== epoch);
    const left = x(at), right = after ? x(after[0]) : x(END);
    if (right < gutter() || left > width) return;
    const colour = leader < 0 ? bad : brokerColour(leader);
    pen.fillStyle = leader < 0 ? hatch(pen, bad) : colour;
    if (leader < 0) { pen.save(); pen.fillStyle = raised; pen.fillRect(left, row.y + 2, right - left, row.height - 4); pen.restore(); }
    pen.fillRect(left, row.y + 2, Math.max(1.5, right - left), row.height - 4);
    pen.fillStyle = paper;
    pen.fillRect(left, row.y + 2, 1, row.height - 4);
    const from = Math.max(left, gutter()), room = Math.min(right, width) - from - 8;
    if (room < 14) return;
    pen.font = "600 11px system-ui, sans-serif";
    const isUnclean = unclean.some((event) => events.partition[event] === row.partition && Math.abs(events.at[event] - at) < 1e8);
    const words = leader < 0 ? "no leader" : room > 120 ? `broker ${leader} leads, epoch ${epoch}${isUnclean ? ", elected uncleanly" : ""}` : `${leader} · ${epoch}`;
    if (isUnclean) { pen.fillStyle = bad; pen.fillRect(left - 1, row.y, 4, row.height); }
    pen.fillStyle = leader < 0 ? bad : paper;
    pen.fillText(cut(pen, words, room), from + 5, row.y + row.height / 2);
  });
}

/** The elections after which the leader may lack what was committed. */
const unclean = Array.from(events.kind.keys()).filter((event) => kindOf(event) === "leader.elected-unclean");

/** A thin strip a replica: full where it is in sync. */
function drawIsr({ pen, x, line, width }, row) {
  replicasOf[row.partition].forEach((replica, index) => {
    const y = row.y + 2 + index * ROW.member;
    const id = RUN.lanes[replica.lane].id;
    const versions = RUN.versions[row.partition];
    versions.forEach(([at, , , isr, replicas], place) => {
      const left = x(at), right = place + 1 < versions.length ? x(versions[place + 1][0]) : x(END);
      if (right < gutter() || left > width) return;
      if (isr.includes(id)) {
        pen.fillStyle = brokerColour(id);
        pen.fillRect(left, y, right - left, ROW.member - 3);
      } else if (replicas.includes(id)) {
        pen.fillStyle = line;
        pen.fillRect(left, y + (ROW.member - 3) / 2 - 0.5, right - left, 1);
      }
    });
  });
}

/** Where each replica's log ends, and its high watermark. */
function drawChart({ pen, width, view, line }, row) {
  const curves = replicasOf[row.partition];
  const columns = Math.max(1, Math.floor(width - gutter()));
  let low = Infinity, high = -Infinity;
  const samples = curves.map((replica) => [replica.end, replica.hw].map((curve) => {
    const out = new Float64Array(columns + 1).fill(NaN);
    let place = lastUntil(curve.at, view.from);
    for (let column = 0; column <= columns; column++) {
      const at = view.from + (column / columns) * (view.until - view.from);
      while (place + 1 < curve.at.length && curve.at[place + 1] <= at) place++;
      if (place < 0 || curve.is[place] < 0) continue;
      out[column] = curve.is[place];
      low = Math.min(low, out[column]); high = Math.max(high, out[column]);
    }
    return out;
  }));
  if (low === Infinity) return;
  if (high === low) { high += 1; low -= 1; }
  const y = (value) => row.y + 6 + (1 - (value - low) / (high - low)) * (row.height - 14);
  pen.fillStyle = line;
  pen.fillRect(gutter(), row.y + row.height - 1, width, 1);
  curves.forEach((replica, index) => {
    pen.strokeStyle = brokerColour(RUN.lanes[replica.lane].id);
    samples[index].forEach((samples, isWatermark) => {
      pen.lineWidth = isWatermark ? 1.1 : 1.7;
      pen.setLineDash(isWatermark ? [4, 3] : []);
      pen.globalAlpha = isWatermark ? 0.9 : 1;
      pen.beginPath();
      let last = NaN;
      for (let column = 0; column <= columns; column++) {
        const value = samples[column];
        if (Number.isNaN(value)) { last = NaN; continue; }
        const left = gutter() + column;
        if (Number.isNaN(last)) pen.moveTo(left, y(value)); else { pen.lineTo(left, y(last)); pen.lineTo(left, y(value)); }
        last = value;
      }
      pen.stroke();
    });
  });
  pen.setLineDash([]);
  pen.globalAlpha = 1;
  row.range = [Math.round(low), Math.round(high)];
}

/** The cursor, the end of the faults, and what went wrong: through everything. */
function drawMoments({ pen, height, view, x, good, bad, cursor, paper, width }) {
  const flag = (at, text, colour, y) => {
    pen.font = "600 11px system-ui, sans-serif";
    const room = pen.measureText(text).width + 10;
    const left = Math.min(Math.max(x(at), gutter()), width - room);
    pen.fillStyle = colour;
    pen.fillRect(left, y, room, 16);
    pen.fillStyle = paper;
    pen.fillText(text, left + 5, y + 8.5);
  };
  const upright = (at, colour, dash, thick = 1) => {
    pen.strokeStyle = colour;
    pen.setLineDash(dash);
    pen.lineWidth = thick;
    pen.beginPath();
    pen.moveTo(x(at), 0); pen.lineTo(x(at), height);
    pen.stroke();
    pen.setLineDash([]);
  };
  const isIn = (at) => at >= view.from && at <= view.until;
  if (RUN.faults.length && RUN.healAt < RUN.runFor && isIn(RUN.healAt)) upright(RUN.healAt, good, [5, 4]);
  RUN.violations.slice(1).forEach(({ at }) => { if (isIn(at)) { pen.fillStyle = bad; pen.fillRect(x(at) - 0.5, 17, 1, 8); } });
  if (first && isIn(first.at)) { upright(first.at, bad, [], 2); }
  upright(view.cursor, cursor, [], 1.5);
  if (first && isIn(first.at)) flag(first.at, `✘ ${first.check}`, bad, 0);
  flag(view.cursor, seconds(view.cursor), cursor, first && Math.abs(x(first.at) - x(view.cursor)) < 90 ? 16 : 0);
}

/** The whole run in one strip, with the part that is shown below. */
function drawOverview(view) {
  const [pen, width] = fitCanvas(overview, 30);
  const x = (at) => gutter() + (at / END) * (width - gutter());
  pen.fillStyle = css("--raised");
  pen.fillRect(gutter(), 0, width - gutter(), 30);
  for (const fault of RUN.faults) {
    if (!fault.isFault) continue;
    pen.fillStyle = `rgba(${faultColour(fault)},0.3)`;
    pen.fillRect(x(fault.from), 0, Math.max(1.5, x(fault.until ?? fault.from) - x(fault.from)), 30);
  }
  pen.fillStyle = css("--dim");
  const columns = Math.floor(width - gutter());
  for (let column = 0; column < columns; column += 2) {
    const [from, until] = [(column / columns) * END, ((column + 2) / columns) * END];
    const count = lastUntil(events.at, until) - lastUntil(events.at, from);
    const tall = Math.min(22, Math.log2(1 + count) * 2.4);
    pen.fillRect(gutter() + column, 30 - tall, 2, tall);
  }
  pen.fillStyle = css("--bad");
  for (const { at } of RUN.violations) pen.fillRect(x(at) - 1, 0, 2, 30);
  pen.fillStyle = css("--cursor");
  pen.fillRect(x(view.cursor) - 0.75, 0, 1.5, 30);
  pen.strokeStyle = css("--cursor");
  pen.lineWidth = 1.5;
  pen.strokeRect(x(view.from) + 0.75, 0.75, Math.max(3, x(view.until) - x(view.from) - 1.5), 28.5);
  pen.fillStyle = css("--dim");
  pen.font = "11px system-ui, sans-serif";
  pen.fillText("whole run", 8, 15);
}
