// What moves: the cursor, the part of time that is shown, the filters; and the keys.

const page = {
  event: 0,
  view: { from: 0, until: END },
  filter: { words: "", partition: NOTHING, node: NOTHING, turns: false },
  chosen: new Int32Array(0),
};
const stage = byId("stage");
/** Closer than a microsecond nothing happens. */
const CLOSEST = 1000;
const MANY = 4;

const shownPartitions = () => (page.filter.partition === NOTHING ? drawn : [page.filter.partition].filter((partition) => drawn.includes(partition)));
const shownLanes = () => RUN.lanes.map((_, lane) => lane).filter((lane) => page.filter.node === NOTHING || lane === page.filter.node);
const viewNow = () => ({ ...page.view, cursor: events.at[page.event] ?? 0, lanes: shownLanes(), partitions: shownPartitions() });

let due = 0;
/** Draws at the next frame: many moves in one frame are one drawing. */
function redraw() {
  if (due) return;
  due = requestAnimationFrame(() => {
    due = 0;
    page.rows = drawAll(viewNow());
    drawRows(page.chosen, page.event, goTo);
  });
}

/** The place of the cursor among the chosen events, or of the last before it. */
const placeNow = () => lastUntil(page.chosen, page.event);

function goTo(event) {
  if (!eventCount) return;
  page.event = Math.min(Math.max(event, 0), eventCount - 1);
  const at = events.at[page.event];
  const { from, until } = page.view;
  if (at < from || at > until) look(at - (until - from) / 2, at + (until - from) / 2);
  const place = placeNow();
  const words = `${seconds(at)} ${laneName(events.lane[page.event])} ${kindOf(page.event)} ${details(page.event)}`;
  byId("now").textContent = `${seconds(at, 6)}  event ${page.event + 1} of ${eventCount}`;
  stage.setAttribute("aria-valuenow", page.event);
  stage.setAttribute("aria-valuetext", words);
  byId("live").textContent = words;
  scrollToPlace(Math.max(0, place), page.chosen.length);
  const inState = shownPartitions().length > MANY && events.partition[page.event] !== NOTHING ? [events.partition[page.event]].filter((partition) => drawn.includes(partition)) : shownPartitions().slice(0, MANY);
  fillState(page.event, at, inState);
  redraw();
}

/** So many of the chosen events on, or back. */
function step(count) {
  const { chosen } = page;
  if (!chosen.length) return;
  const place = placeNow();
  const isOn = place >= 0 && chosen[place] === page.event;
  // From between two chosen events one step back is the one before.
  const next = place + count + (count < 0 && !isOn ? 1 : 0);
  goTo(chosen[Math.min(Math.max(next, 0), chosen.length - 1)]);
}

/** To the next turn, or the one before. */
function stepTurn(way) {
  const { chosen } = page;
  for (let place = placeNow() + way; place >= 0 && place < chosen.length; place += way) {
    if (isTurn(chosen[place]) && chosen[place] !== page.event) return goTo(chosen[place]);
  }
}

function look(from, until) {
  const span = Math.min(END, Math.max(CLOSEST, until - from));
  from = Math.min(Math.max(0, from), END - span);
  page.view = { from, until: from + span };
  redraw();
}

function zoom(factor, around = events.at[page.event] ?? 0) {
  const { from, until } = page.view;
  const share = Math.min(1, Math.max(0, (around - from) / (until - from)));
  const span = (until - from) * factor;
  look(around - span * share, around + span * (1 - share));
}

function refilter() {
  const { filter } = page;
  filter.words = byId("search").value;
  filter.partition = Number(byId("partition").value);
  filter.node = Number(byId("node").value);
  filter.turns = byId("turns").checked;
  page.chosen = choose(filter);
  byId("count").textContent = page.chosen.length === eventCount ? `${eventCount.toLocaleString("en")}` : `${page.chosen.length.toLocaleString("en")} of ${eventCount.toLocaleString("en")}`;
  goTo(page.event);
}

/** To what went wrong, with what led there in sight. */
function goToWrong() {
  if (!first) return;
  const causes = first.slice.map(([event]) => events.at[event]).filter((at) => at <= first.at);
  const from = Math.min(...causes, first.at - END / 50);
  const room = Math.max(first.at - from, END / 50) * 0.12;
  look(from - room, first.at + room);
  goTo(eventOf(first));
}

// ── Keys and pointer ───────────────────────────────────────────────────────────────────────────────────────────────────

const KEYS = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => stepTurn(-1), ArrowDown: () => stepTurn(1),
  Home: () => page.chosen.length && goTo(page.chosen[0]), End: () => page.chosen.length && goTo(page.chosen[page.chosen.length - 1]),
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "−": () => zoom(2), 0: () => look(0, END),
  "/": () => byId("search").focus(), v: goToWrong, "?": () => byId("help").showModal(),
  t: () => { byId("turns").checked = !byId("turns").checked; refilter(); },
  p: () => {
    const select = byId("partition");
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
    refilter();
  },
};

document.addEventListener("keydown", (press) => {
  const { target, key } = press;
  if (press.ctrlKey || press.metaKey || press.altKey || byId("help").open) return;
  if (target.id === "search") {
    if (key === "Escape") { target.value = ""; refilter(); stage.focus({ preventScroll: true }); }
    if (key === "Enter") step(press.shiftKey ? -1 : 1);
    return;
  }
  const isOwn = target.matches("select, input, summary") || (target.matches("button") && [" ", "Enter"].includes(key));
  if (isOwn || !KEYS[key]) return;
  press.preventDefault();
  KEYS[key]();
});

function pointed(press) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [press.clientX - box.left, press.clientY - box.top];
  return { x, y, at: atOf(page.view, box.width, Math.max(x, gutter())), row: page.rows?.find((row) => y >= row.y && y < row.y + row.height) };
}

/** The event nearest to a moment: in the lane or partition that was pointed at, where there is one near. */
function nearest({ at, row }) {
  const near = (page.view.until - page.view.from) / 120;
  const fits = (event) => (row?.kind === "lane" ? events.lane[event] === row.lane : row?.partition === undefined || events.partition[event] === row.partition);
  const around = lastUntil(events.at, at);
  let best = Math.max(0, around), distance = near;
  for (const way of [-1, 1]) {
    for (let event = way < 0 ? around : around + 1; event >= 0 && event < eventCount; event += way) {
      const far = Math.abs(events.at[event] - at);
      if (far > distance) break;
      if (fits(event)) { [best, distance] = [event, far]; break; }
    }
  }
  return best;
}

let isDragging = false;
stage.addEventListener("pointerdown", (press) => {
  if (press.button) return;
  isDragging = true;
  stage.setPointerCapture(press.pointerId);
  goTo(nearest(pointed(press)));
});
stage.addEventListener("pointermove", (press) => {
  const where = pointed(press);
  if (isDragging) return goTo(nearest(where));
  showTip(where);
});
stage.addEventListener("pointerup", () => { isDragging = false; });
stage.addEventListener("pointerleave", () => { byId("tip").hidden = true; });
stage.addEventListener("wheel", (turn) => {
  if (!turn.ctrlKey) return;
  turn.preventDefault();
  zoom(turn.deltaY > 0 ? 1.25 : 0.8, pointed(turn).at);
}, { passive: false });

/** Says what is under the pointer. */
function showTip({ x, y, at, row }) {
  const tip = byId("tip");
  const words = x < gutter() ? null : tipOf(at, y, row);
  tip.hidden = !words;
  if (!words) return;
  tip.textContent = words;
  tip.style.left = `${Math.min(x + 14, canvas.clientWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${y + 18}px`;
}

function tipOf(at, y, row) {
  if (row?.kind === "faults") {
    const wide = (page.view.until - page.view.from) / 12;
    const index = RUN.faults.findLastIndex((fault, place) => faultRows[place] === Math.floor((y - row.y - 2) / ROW.fault) && fault.from <= at && at <= Math.max(fault.until ?? 0, fault.from + wide));
    if (index < 0) return null;
    const { action, lanes, details, from, until } = RUN.faults[index];
    return `${action} ${lanes.map(laneName).join(", ")}${details ? `: ${details}` : ""}, ${seconds(from)}${until === null ? "" : ` to ${seconds(until)}`}`;
  }
  if (row?.kind === "lane") return `${laneName(row.lane)} ${processAt(row.lane, at)} at ${seconds(at)}`;
  if (row?.partition === undefined) return null;
  const version = versionAt(row.partition, at);
  if (!version) return null;
  if (row.kind !== "chart") return `${version.leader < 0 ? "no leader" : `broker ${version.leader} leads`}, epoch ${version.epoch}, in sync [${version.isr}] of [${version.replicas}]`;
  return replicasOf[row.partition].map((replica) => `${laneName(replica.lane)}: end ${valueAt(replica.end, at) ?? "–"}, watermark ${valueAt(replica.hw, at) ?? "–"}`).join(" · ");
}

let isMoving = false;
const moveTo = (press) => {
  const box = overview.getBoundingClientRect();
  const at = ((press.clientX - box.left - gutter()) / (box.width - gutter())) * END;
  const span = page.view.until - page.view.from;
  look(at - span / 2, at + span / 2);
};
overview.addEventListener("pointerdown", (press) => { isMoving = true; overview.setPointerCapture(press.pointerId); moveTo(press); });
overview.addEventListener("pointermove", (press) => isMoving && moveTo(press));
overview.addEventListener("pointerup", () => { isMoving = false; });

// ── Beginning ──────────────────────────────────────────────────────────────────────────────────────────────────────────

fillHead();
fillWrong((event) => { goTo(event); stage.scrollIntoView({ block: "nearest" }); });
fillAsked();
fillHelp();
fillLegend();
const option = (text, value) => make("option", { value }, text);
byId("partition").append(option("all", NOTHING), ...drawn.map((partition) => option(RUN.partitions[partition], partition)));
byId("node").append(option("all", NOTHING), ...RUN.lanes.map((lane, number) => option(lane.name, number)));
// Of what went wrong the partition alone, and of many partitions one: the others are a choice away.
if (first && drawn.includes(first.partition)) byId("partition").value = first.partition;
else if (drawn.length > MANY) byId("partition").value = drawn[0];
byId("to-wrong").hidden = !first;
stage.setAttribute("aria-valuemax", Math.max(0, eventCount - 1));
for (const id of ["search", "partition", "node", "turns"]) byId(id).addEventListener("input", refilter);
const press = { first: KEYS.Home, back: () => step(-1), forth: () => step(1), last: KEYS.End, "to-wrong": goToWrong, closer: () => zoom(0.5), farther: () => zoom(2), all: () => look(0, END), ask: KEYS["?"] };
for (const [id, does] of Object.entries(press)) byId(id).addEventListener("click", does);
byId("list").addEventListener("scroll", redraw);
window.addEventListener("resize", redraw);
dark.addEventListener("change", () => { fillLegend(); goTo(page.event); });
refilter();
if (first) goToWrong();
