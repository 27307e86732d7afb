// Everything in words: the head, what went wrong, the list of events, the state at the cursor.

/** An element with its attributes and what is in it. */
function make(name, attributes = {}, ...inner) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "click") element.addEventListener("click", value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...inner.flat().filter((part) => part !== null && part !== undefined));
  return element;
}

const byId = (id) => document.getElementById(id);

function fillHead() {
  const looks = { FAILED: "bad", NONDETERMINISTIC: "bad", INCONCLUSIVE: "doubt", passed: "good" };
  const name = RUN.variant ? `${RUN.scenario} [${RUN.variant}]` : RUN.scenario;
  const { totals } = RUN;
  const faults = RUN.faults.filter((fault) => fault.isFault).length;
  byId("head").append(
    make("span", { class: `badge ${looks[RUN.verdict]}` }, RUN.verdict === "passed" ? "✔ passed" : `✘ ${RUN.verdict}`),
    make("h1", {}, name, make("span", { class: "dim" }, ` · seed ${RUN.seed}`)),
    make("p", {}, RUN.claim),
    make("p", { class: "dim" }, `${seconds(END, 1)} of ${RUN.time}: ${eventCount.toLocaleString("en")} events, ${faults} faults. Records: ${totals.sent.toLocaleString("en")} sent, ${totals.acked.toLocaleString("en")} acknowledged, ${totals.failed} failed, ${totals.unknown} unknown; ${RUN.lost}, ${totals.duplicates} duplicates.`),
    ...(RUN.inconclusive ? [make("p", {}, `It shows nothing: ${RUN.inconclusive}.`)] : []),
    make("p", { class: "again" }, "Again: ", make("code", {}, RUN.again)),
  );
}

// ── What went wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

const DESTROYS = ["log.truncated", "log.cut", "leader.elected-unclean", "disk.lost", "segment.corrupt", "log-dir.offline"];

function fillWrong(goTo) {
  const missed = RUN.expectations.filter((expectation) => expectation.missed);
  if (!first && !missed.length && !RUN.nondeterminism) return;
  const panel = byId("wrong");
  panel.hidden = false;
  const left = make("div");
  if (RUN.nondeterminism) left.append(make("h2", {}, "Two runs of this seed differ"), make("p", { class: "facts" }, RUN.nondeterminism));
  left.append(...RUN.beyondBudget.map((line) => make("p", { class: "beyond" }, line)));
  if (first) left.append(...broken(goTo));
  for (const { that, is, seen, why } of missed) {
    left.append(make("h2", {}, `Expected: ${that} ${is}`), make("dl", {}, make("dt", {}, "fact"), make("dd", {}, `it is ${seen}`), why ? [make("dt", {}, "because"), make("dd", {}, why)] : []));
  }
  panel.append(left);
  if (first) panel.append(sliceOf(goTo));
}

function broken(goTo) {
  const place = [first.node, first.partition === NOTHING ? null : RUN.partitions[first.partition]].filter(Boolean).join(", ");
  const later = new Map();
  for (const violation of RUN.violations.slice(1)) later.set(violation.check, (later.get(violation.check) ?? 0) + 1);
  const more = RUN.violationsInAll - RUN.violations.length;
  const counts = [...later].map(([check, count]) => `${check} × ${count}`).concat(more > 0 ? [`${more} more`] : []);
  return [
    make("h2", {}, `${first.check} is broken at ${seconds(first.at)}${place ? `, ${place}` : ""}`),
    make("dl", {},
      make("dt", {}, "claim"), make("dd", {}, first.claim ?? ""),
      make("dt", {}, "fact"), make("dd", {}, make("strong", {}, first.what), first.evidence.length ? make("div", { class: "facts" }, first.evidence.join("\n")) : null),
      first.code.length ? [make("dt", {}, "code"), make("dd", { title: "where the claim is upheld, the likeliest first" }, make("div", { class: "facts" }, first.code.join("\n")))] : []),
    counts.length ? make("p", { class: "consequences" }, `After it, most likely its consequences: ${counts.join(", ")}.`) : null,
    make("p", { class: "consequences" }, make("button", { type: "button", class: "to", click: () => goTo(eventOf(first)) }, "Show it in the timeline")),
  ].filter(Boolean);
}

/** Cause and effect: the events that can have led there. */
function sliceOf(goTo) {
  const rows = first.slice.map(([event, last]) => {
    const kind = kindOf(event);
    const looks = kind === "fault.started" ? "fault" : DESTROYS.includes(kind) ? "gone" : null;
    const until = last === event ? "" : ` … ${seconds(events.at[last])}`;
    const button = make("button", { type: "button", title: seconds(events.at[event], 6), click: () => goTo(event) },
      make("span", { class: "t" }, seconds(events.at[event])), make("span", { class: "who" }, laneName(events.lane[event])),
      make("span", {}, make("b", {}, kind), ` ${details(event)}${until}`));
    return make("li", { class: looks }, button);
  });
  const effect = make("button", { type: "button", click: () => goTo(eventOf(first)) },
    make("span", { class: "t" }, seconds(first.at)), make("span", { class: "who" }, first.node ?? ""), make("span", {}, make("b", {}, `✘ ${first.check}`), ` ${first.what}`));
  const slice = make("div", {}, make("h2", {}, "How it came to it"), make("ol", {}, rows), make("ol", { class: "effect" }, make("li", {}, effect)));
  oneStop(slice);
  return slice;
}

/** Tab leads to a list of buttons once; the arrow keys lead through it. */
function oneStop(list) {
  const buttons = [...list.querySelectorAll("button")];
  const stopAt = (chosen) => buttons.forEach((button) => { button.tabIndex = button === chosen ? 0 : -1; });
  stopAt(buttons[0]);
  list.addEventListener("focusin", ({ target }) => stopAt(target));
  list.addEventListener("keydown", (press) => {
    const way = { ArrowUp: -1, ArrowDown: 1 }[press.key];
    const next = buttons[buttons.indexOf(press.target) + way];
    if (!way || press.ctrlKey || press.metaKey || press.altKey) return;
    press.preventDefault();
    press.stopPropagation();
    next?.focus();
  });
}

// ── Events ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const ROW_HEIGHT = 22;

/** The events that the filters leave, by number. */
function choose({ words, partition, node, turns }) {
  const terms = words.toLowerCase().split(/\s+/).filter(Boolean);
  // By table, not by event: a hundred thousand events share few words.
  const masks = terms.map((term) => {
    const has = (text) => text.toLowerCase().includes(term);
    return { lane: RUN.lanes.map((lane) => has(lane.name)), kind: RUN.kinds.map((kind) => has(kind[0])), partition: RUN.partitions.map(has), note: RUN.notes.map(has), error: RUN.errors.map(has), number: term };
  });
  const matches = (event) => masks.every((mask) =>
    mask.kind[events.kind[event]] || mask.lane[events.lane[event]] || mask.partition[events.partition[event]] ||
    mask.note[events.note[event]] || mask.error[events.error[event]] ||
    String(events.from[event]) === mask.number || String(events.to[event]) === mask.number);
  const out = [];
  for (let event = 0; event < eventCount; event++) {
    const isOfAll = isTurn(event) && events.partition[event] === NOTHING;
    if (turns && !isTurn(event)) continue;
    if (partition !== NOTHING && events.partition[event] !== partition && !isOfAll) continue;
    if (node !== NOTHING && events.lane[event] !== node && !(isOfAll && events.lane[event] === NOTHING)) continue;
    if (terms.length && !matches(event)) continue;
    out.push(event);
  }
  return Int32Array.from(out);
}

/** Draws the rows that can be seen. */
function drawRows(chosen, cursor, goTo) {
  const list = byId("list");
  const from = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - 5);
  const until = Math.min(chosen.length, from + Math.ceil(list.clientHeight / ROW_HEIGHT) + 12);
  const pinned = first ? eventOf(first) : NOTHING;
  const rows = [];
  for (let place = from; place < until; place++) {
    const event = chosen[place];
    const kind = kindOf(event);
    const looks = [isTurn(event) && "turn", kind.startsWith("fault.") && "fault", event === cursor && "chosen", event > cursor && "after", event === pinned && event !== cursor && "pinned"].filter(Boolean).join(" ");
    const what = details(event);
    rows.push(make("div", { class: looks, role: "option", id: `event-${event}`, "aria-selected": String(event === cursor), "aria-posinset": place + 1, "aria-setsize": chosen.length, click: () => goTo(event) },
      make("span", { class: "t" }, seconds(events.at[event])), make("span", {}, laneName(events.lane[event])), make("span", {}, kind), make("span", { title: what }, what)));
  }
  const box = byId("rows");
  box.style.top = `${from * ROW_HEIGHT}px`;
  box.replaceChildren(...rows);
  list.setAttribute("aria-activedescendant", `event-${cursor}`);
}

/** Lets the list show an event. */
function scrollToPlace(place, count) {
  const list = byId("list");
  byId("tall").style.height = `${count * ROW_HEIGHT}px`;
  const top = place * ROW_HEIGHT;
  if (top < list.scrollTop + ROW_HEIGHT || top > list.scrollTop + list.clientHeight - 2 * ROW_HEIGHT)
    list.scrollTop = Math.max(0, top - list.clientHeight * 0.6);
}

// ── State ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const swatch = (id) => make("i", { style: `background:${brokerColour(id)}` });

/** A table whose cells are marked where they differ from those right before. */
function table(heads, rows, before) {
  const cell = (value, row, column) => {
    const shown = value instanceof Object && !(value instanceof Node) ? value : { text: value };
    const old = before?.[row]?.[column];
    const oldText = old instanceof Object ? old.text : old;
    const looks = [shown.looks, heads[column].startsWith("#") && "n", before && oldText !== shown.text && "changed"].filter(Boolean).join(" ");
    return make("td", { class: looks || null }, shown.broker ? swatch(shown.broker) : null, String(shown.text ?? "–"));
  };
  return make("table", {},
    make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col", class: head.startsWith("#") ? "n" : null }, head.replace("#", ""))))),
    make("tbody", {}, rows.map((row, number) => make("tr", {}, row.map((value, column) => cell(value, number, column))))));
}

const processCell = (state) => ({ text: state, looks: state === "runs" ? null : "off" });

function replicaRows(partition, at) {
  const version = versionAt(partition, at);
  return replicasOf[partition].map((replica) => {
    const { process, role, end, hw } = replicaAt(replica, at);
    const id = RUN.lanes[replica.lane].id;
    const inSync = version?.isr.includes(id);
    const words = !role ? null : role.is === "leads" ? `leads, epoch ${role.epoch}` : role.is === "gone" ? "no copy" : role.leader < 0 ? `no leader, epoch ${role.epoch}` : `follows ${role.leader}, epoch ${role.epoch}`;
    return [{ text: laneName(replica.lane), broker: id }, processCell(process), words, end, hw, { text: inSync ? "in sync" : "out", looks: inSync ? "ok" : "off" }];
  });
}

function nodeRows(at) {
  const voters = RUN.lanes.map((_, lane) => lane).filter((lane) => RUN.nodes[lane].quorum.length);
  return voters.map((lane) => {
    const process = processAt(lane, at);
    const [, role, epoch, leader] = lastEntry(RUN.nodes[lane].quorum, at) ?? [0, null, null, NOTHING];
    const vote = lastEntry(RUN.nodes[lane].votes, at);
    const isActive = actives[lane].some(({ from, until }) => from <= at && at < until);
    const isOff = process === "down";
    return [laneName(lane), processCell(process), isOff ? null : isActive ? `${role}, active` : role, epoch, isOff || leader < 0 ? null : nodeOfId(leader), vote ? `${nodeOfId(vote[2])} in ${vote[1]}` : null];
  });
}

function clientRows(at) {
  return RUN.clients.map((client) => {
    const { sent, acked, failed, unknown, pending } = clientAt(client, at);
    return [laneName(client.lane), processAt(client.lane, at), sent, pending, acked, failed, unknown];
  });
}

function fillState(cursor, at, partitions) {
  // At the very first moment everything is new.
  const before = at > 0 ? at - 1 : null;
  const old = (rows, ...of) => (before === null ? null : rows(...of, before));
  const parts = [make("h2", {}, "State at the cursor ", make("span", {}, `after ${kindOf(cursor)} at ${seconds(at, 6)}; what this moment changed is marked`))];
  for (const partition of partitions) {
    const version = versionAt(partition, at);
    const committed = version ? `committed: ${version.leader < 0 ? "no leader" : `broker ${version.leader} leads`}, epoch ${version.epoch}, in sync [${version.isr}] of [${version.replicas}], version ${version.version}` : "not there yet";
    parts.push(make("h3", {}, `${RUN.partitions[partition]} `, make("span", {}, committed)));
    if (replicasOf[partition].length) parts.push(table(["replica", "process", "believes", "#log end", "#watermark", "committed"], replicaRows(partition, at), old(replicaRows, partition)));
  }
  const nodes = nodeRows(at);
  if (nodes.length) parts.push(make("h3", {}, "metadata quorum"), table(["node", "process", "role", "#epoch", "leader", "last vote"], nodes, old(nodeRows)));
  if (RUN.clients.length) parts.push(make("h3", {}, "producers"), table(["client", "process", "#sent", "#pending", "#acked", "#failed", "#unknown"], clientRows(at), old(clientRows)));
  byId("state").replaceChildren(...parts);
}

function fillAsked() {
  const box = byId("asked");
  box.querySelector("summary").textContent = `What the scenario asks for (${RUN.expectations.length})`;
  const rows = RUN.expectations.map(({ that, is, seen, over, missed, holds }) => [{ text: missed ? "✘" : holds ? "✔" : "–", looks: missed ? "off" : "ok" }, that, is, seen, over]);
  box.querySelector("div").append(table(["", "expected", "asked", "seen", "over seeds"], rows, null));
  if (RUN.why) box.querySelector("div").append(make("p", {}, RUN.why));
}

function fillHelp() {
  const keys = [
    ["← →", "one event back, on"], ["↑ ↓", "the turn before, the next turn: elections, faults, truncations"], ["Home End", "first event, last event"],
    ["v", "to what went wrong"], ["+ − 0", "closer, farther, whole run"], ["/", "search; Esc leaves it"], ["p", "the next partition alone, or all"], ["t", "turns only, or every event"], ["?", "this help"],
  ];
  const close = make("button", { type: "button", click: () => byId("help").close() }, "Close");
  byId("help").append(
    make("h2", {}, "Keys"), make("table", {}, make("tbody", {}, keys.map(([key, does]) => make("tr", {}, make("td", {}, key.split(" ").flatMap((one) => [make("kbd", {}, one), " "])), make("td", {}, does))))),
    make("h2", {}, "Signs"),
    make("p", {}, "A lane is a process: a line while it runs, hatched while it is down or stands still. ◆ is a turn, the dark marks are other events. Coloured bands through lanes are faults, from their beginning to their end. Of a partition: who leads it in which epoch; a strip for each replica, full while the controller counts it as in sync; the ends of the logs, and dashed the high watermarks. The dashed green line is where every fault ends."),
    make("p", {}, "Click in the timeline moves the cursor; hold Ctrl and turn the wheel to come closer; drag in the strip above to move along. The state under the timeline is what the nodes themselves said up to the cursor."),
    close);
}

function fillLegend() {
  const entries = FAULTS.filter((kind) => RUN.faults.some((fault) => fault.isFault && FAULTS.find((of) => of.of.test(fault.action)) === kind));
  const shown = entries.map((kind) => make("span", {}, make("i", { style: `background:rgba(${dark.matches ? kind.dark : kind.light},.45)` }), kind.name));
  byId("legend").replaceChildren(...shown, make("span", {}, "◆ turn"), make("span", {}, "▬ active controller"), make("span", {}, "┄ high watermark"), make("span", {}, "? for keys and signs"));
}
