"use strict";
// The run, as the page was given it, and questions about it: what happened, and what was the state at a moment.

const RUN = JSON.parse(document.getElementById("data").textContent);
const NOTHING = -1;

/** The running sums of a column of differences. */
function sums(differences) {
  const out = new Float64Array(differences.length);
  let sum = 0;
  for (let i = 0; i < out.length; i++) out[i] = sum += differences[i];
  return out;
}

/** The place of the last of `times` that is not after `at`; -1 where all are. */
function lastUntil(times, at) {
  let low = 0, high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= at) low = middle + 1; else high = middle;
  }
  return low - 1;
}

const events = Object.assign(RUN.events, { at: sums(RUN.events.at) });
const eventCount = events.at.length;
/** The last moment: what went wrong may have been found right after the last event. */
const END = Math.max(RUN.end, 1, ...RUN.violations.map((violation) => violation.at)) * 1.002;

for (const curve of RUN.replicas.flatMap((replica) => [replica.end, replica.hw])) curve.at = sums(curve.at);
for (const client of RUN.clients)
  for (const fate of ["sent", "acked", "failed", "unknown"]) client[fate] = sums(client[fate]);

const TURN = 2;
const isTurn = (event) => (RUN.kinds[events.kind[event]] ?? [])[1] === TURN;
const kindOf = (event) => (RUN.kinds[events.kind[event]] ?? ["?"])[0];
const laneName = (lane) => (lane === NOTHING ? "testbed" : RUN.lanes[lane].name);
const laneOfBroker = (id) => RUN.lanes.findIndex((lane) => lane.kind === "broker" && lane.id === id);
/** Voters that are no brokers have ids above 100. */
const nodeOfId = (id) => (id > 100 ? `controller ${id - 100}` : `broker ${id}`);

/** Nanoseconds as seconds. */
function seconds(at, digits = 3) {
  return `${(Math.floor(at / 10 ** (9 - digits)) / 10 ** digits).toFixed(digits)}s`;
}

/** What an event says besides who and of which kind. */
function details(event) {
  const parts = [];
  if (events.partition[event] !== NOTHING) parts.push(RUN.partitions[events.partition[event]]);
  if (events.from[event] !== NOTHING) parts.push(`${events.from[event]} → ${events.to[event]}`);
  if (events.error[event] !== NOTHING) parts.push(RUN.errors[events.error[event]]);
  if (events.note[event] !== NOTHING) parts.push(RUN.notes[events.note[event]]);
  if (events.count[event] !== 1 && events.from[event] === NOTHING) parts.push(`× ${events.count[event]}`);
  return parts.join(", ");
}

// ── Processes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const STATE_AFTER = { started: "runs", ended: "down", paused: "paused", resumed: "runs" };

/** The stretches of a lane's process: from when to when it was what. */
function stretches(turns) {
  const out = [];
  let state = "not started", from = 0;
  for (const [at, turn] of turns) {
    const next = state === "down" && turn !== "started" ? "down" : STATE_AFTER[turn];
    if (next === state) continue;
    if (at > from || out.length) out.push({ from, until: at, state });
    [state, from] = [next, at];
  }
  out.push({ from, until: END, state });
  return out;
}

const processes = RUN.nodes.map((node) => stretches(node.process));

function processAt(lane, at) {
  const of = processes[lane];
  for (let i = of.length - 1; i >= 0; i--) if (of[i].from <= at) return of[i].state;
  return "not started";
}

/** The last entry [at, …] of a list that is not after a moment. */
function lastEntry(list, at) {
  let found = null;
  for (const entry of list) {
    if (entry[0] > at) break;
    found = entry;
  }
  return found;
}

/** From when to when a lane was the active controller. */
const actives = RUN.nodes.map((node, lane) => {
  const out = [];
  let from = null;
  const turns = node.active.map(([at, is]) => [at, is]);
  // Who died is it no longer, and cannot say so.
  for (const { from: at, state } of processes[lane]) if (state === "down") turns.push([at, false]);
  turns.sort((one, other) => one[0] - other[0]);
  for (const [at, is] of turns) {
    if (is && from === null) from = at;
    if (!is && from !== null) { out.push({ from, until: at }); from = null; }
  }
  if (from !== null) out.push({ from, until: END });
  return out;
});

// ── Partitions ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const replicasOf = RUN.partitions.map((_, partition) => RUN.replicas.filter((replica) => replica.partition === partition));
/** The partitions of which there is something to draw. */
const drawn = RUN.partitions.map((_, partition) => partition)
  .filter((partition) => replicasOf[partition].length || RUN.versions[partition].length);

/** A partition as the controller had committed it. */
function versionAt(partition, at) {
  const found = lastEntry(RUN.versions[partition], at);
  if (!found) return null;
  const [since, leader, epoch, isr, replicas, version] = found;
  return { since, leader, epoch, isr, replicas, version };
}

function valueAt(curve, at) {
  const place = lastUntil(curve.at, at);
  return place < 0 ? null : curve.is[place];
}

/** What a replica was by its own word; nothing while its process is down. */
function replicaAt(replica, at) {
  const process = processAt(replica.lane, at);
  const role = lastEntry(replica.roles, at);
  const begun = processes[replica.lane].findLast((stretch) => stretch.from <= at);
  // What was said before the process ended is forgotten with it.
  const isOld = !role || (begun && begun.state === "runs" && role[0] < startOf(replica.lane, at));
  return {
    process,
    role: process === "down" || isOld ? null : { is: role[1], epoch: role[2], leader: role[3] },
    end: valueAt(replica.end, at),
    hw: valueAt(replica.hw, at),
  };
}

/** When the process that runs at a moment was started. */
function startOf(lane, at) {
  const turn = RUN.nodes[lane].process.findLast(([when, turn]) => when <= at && turn === "started");
  return turn ? turn[0] : 0;
}

/** What a client had sent and been told by a moment. */
function clientAt(client, at) {
  const until = (column) => lastUntil(column, at) + 1;
  const of = { sent: until(client.sent), acked: until(client.acked), failed: until(client.failed), unknown: until(client.unknown) };
  return { ...of, pending: of.sent - of.acked - of.failed - of.unknown };
}

// ── What went wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

const first = RUN.violations[0] ?? null;

/** The event at which what went wrong is to be seen: the last of its moment, of its partition if it names one. */
function eventOf(violation) {
  const last = lastUntil(events.at, violation.at);
  for (let event = last; event >= Math.max(0, last - 500); event--) {
    const fits = violation.partition === NOTHING || events.partition[event] === violation.partition;
    if (fits && (violation.lane === NOTHING || events.lane[event] === violation.lane)) return event;
  }
  return Math.max(0, last);
}
