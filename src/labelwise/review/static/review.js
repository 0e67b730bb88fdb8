/** The review page: a batch of labels, one after the other, by click or by key. */

import { decide, fetchBatch, fetchState, flush, onUnsaved, openSession, rerank, undo } from "./api.js";
import { askName, chooseOther, drawPeople, openDialog, setUpFilter } from "./dialogs.js";
import { numbers, percent, showItem } from "./show.js";

const BATCH = 30;
const KEYS = { k: "keep", a: "accept", o: "other", b: "both", c: "cannot_tell", x: "exclude" };
const WORDS = {
  keep: "kept", accept: "accepted", other: "changed", both: "both fit", cannot_tell: "cannot tell", exclude: "excluded",
};

const by = (id) => document.getElementById(id);
const state = {
  session: null, reviewer: "", query: {}, items: [], place: 0, total: 0, decided: new Map(),
  isCutOff: false, queue: Promise.resolve(),
};

const current = () => state.items[state.place];
const announce = (sentence) => { by("live").textContent = sentence; };

function complain(sentence) {
  by("trouble").textContent = sentence ?? "";
  by("trouble").hidden = !sentence;
}

/** Do one thing after the other; what goes wrong is said. */
function attempt(work) {
  state.queue = state.queue.then(work).catch((trouble) => complain(trouble.message));
  return state.queue;
}

/** The decisions on an item that may be shown: what this page made, and what the server tells of others. */
function standingOn(item) {
  const own = state.decided.get(item.position);
  const told = item.decisions ?? [];
  return own ? [{ reviewer: state.reviewer, ...own }, ...told.filter((each) => each.reviewer !== state.reviewer)] : told;
}

function draw() {
  const item = current();
  const ended = !item;
  const standing = ended ? [] : standingOn(item);
  by("label").hidden = ended;
  by("done").hidden = !ended;
  const made = state.items.filter((each) => state.decided.has(each.position)).length;
  by("bar").max = Math.max(state.items.length, 1);
  by("bar").value = made;
  by("count").textContent = state.items.length
    ? `${made} of ${state.items.length} in this batch · ${state.total.toLocaleString("en")} in all`
    : "nothing left";
  for (const button of by("verdicts").children) {
    const { verdict } = button.dataset;
    button.hidden = !state.session.verdicts.includes(verdict);
    button.disabled = ended || (["accept", "both"].includes(verdict) && item.suggested === item.given);
    const chosen = standing.some((each) => each.reviewer === state.reviewer && each.verdict === verdict);
    button.setAttribute("aria-pressed", String(chosen));
  }
  by("back").disabled = state.place === 0;
  by("forth").disabled = ended;
  if (ended) {
    drawEnd(made);
    return;
  }
  showItem(item, state.session, standing.map(({ reviewer, verdict, after }) => [reviewer, WORDS[verdict], after]));
  by("label").focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}

async function drawEnd(made) {
  by("done-title").textContent = state.items.length ? "These are done" : "Nothing is left to look at";
  by("next").hidden = !state.items.length;
  by("done").focus({ preventScroll: true });
  const own = [...state.decided.values()];
  const wrong = own.filter((each) => ["accept", "other", "both"].includes(each.verdict)).length;
  const rows = [["Decided here", `${made} of ${state.items.length}`], ["Given labels that were wrong", `${wrong} of ${own.length}`]];
  by("done-numbers").replaceChildren(numbers(rows));
  await attempt(async () => {
    await flush();
    const found = await fetchState();
    rows.push(["Decided by all", found.decided.toLocaleString("en")], ["Found wrong by all", found.errors.toLocaleString("en")]);
    if (found.agreement !== null) rows.push(["Pairs of people who agree", percent(found.agreement)]);
    by("done-numbers").replaceChildren(numbers(rows));
  });
}

async function load() {
  complain(null);
  const answer = await fetchBatch({ ...state.query, by: state.query.by ?? state.reviewer, size: BATCH });
  Object.assign(state, { items: answer.items, total: answer.total, place: 0, decided: new Map() });
  draw();
}

async function next() {
  await flush();
  const active = by("active").checked;
  if (active) await rerank();
  state.query.order = active ? "active" : "static";
  await load();
}

function move(step) {
  const place = state.place + step;
  if (place < 0 || place > state.items.length) return;
  state.place = place;
  draw();
}

function afterOf(item, verdict) {
  if (verdict === "keep") return item.given;
  if (verdict === "accept") return item.suggested;
  if (verdict === "both") return item.both;
  return "";
}

function record(item, verdict, after) {
  state.decided.set(item.position, { verdict, after });
  decide({ position: item.position, verdict, after, reviewer: state.reviewer }, (reason) => {
    state.decided.delete(item.position);
    state.place = Math.max(state.items.indexOf(item), 0);
    draw();
    complain(`${item.location} is not decided: ${reason}`);
  });
  announce(`${item.location}: ${WORDS[verdict]}${after ? `, ${after}` : ""}.`);
  complain(null);
  move(1);
}

async function choose(verdict) {
  const item = current();
  const button = by("verdicts").querySelector(`[data-verdict="${verdict}"]`);
  if (!item || button.hidden || button.disabled) return;
  if (verdict !== "other") {
    record(item, verdict, afterOf(item, verdict));
    return;
  }
  const after = await chooseOther(state.session);
  if (after === null) return;
  record(item, after === item.given ? "keep" : after === item.suggested ? "accept" : "other", after);
}

const takeBack = () => attempt(async () => {
  const { undone, item } = await undo(state.reviewer);
  if (!undone) {
    announce("There is nothing to undo.");
    return;
  }
  if (item) {
    const place = state.items.findIndex((each) => each.position === item.position);
    if (place < 0) state.items.splice(state.place, 0, item);
    else state.place = place;
    state.decided.delete(item.position);
    const shown = state.items.find((each) => each.position === item.position);
    shown.decisions = shown.decisions?.filter((each) => each.reviewer !== state.reviewer);
    draw();
  }
  announce(`Taken back. ${item ? item.location : ""}`);
});

function setReviewer(name) {
  state.reviewer = name;
  by("who").textContent = name;
  by("who").setAttribute("aria-label", `${name}, change reviewer`);
}

async function changeReviewer() {
  setReviewer(await askName(state.reviewer));
  await attempt(load);
}

async function openFilter() {
  try {
    const query = await setUpFilter(state.session, state.query, fetchState);
    if (!query) return;
    state.query = { ...query, order: state.query.order ?? "static" };
    attempt(load);
  } catch (trouble) {
    complain(trouble.message);
  }
}

const openPeople = () => attempt(async () => {
  await flush();
  drawPeople(await fetchState());
  openDialog("people");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  // Sliders and choices have a use for the arrows themselves.
  if (event.target.matches("[type=range], [type=radio]") && event.key.startsWith("Arrow")) return;
  const key = event.key.toLowerCase();
  const moves = { arrowleft: () => move(-1), arrowright: () => move(1), u: takeBack, f: openFilter, "?": () => openDialog("help") };
  // Enter on a button presses that button.
  if (key === "enter" && !by("done").hidden && !by("next").hidden && event.target.tagName !== "BUTTON") moves.enter = () => attempt(next);
  const act = key in KEYS ? () => choose(KEYS[key]) : moves[key];
  if (!act || event.repeat) return;
  event.preventDefault();
  act();
});

by("verdicts").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) choose(button.dataset.verdict);
});
by("undo").addEventListener("click", takeBack);
by("back").addEventListener("click", () => move(-1));
by("forth").addEventListener("click", () => move(1));
by("next").addEventListener("click", () => attempt(next));
by("who").addEventListener("click", changeReviewer);
by("filter-open").addEventListener("click", openFilter);
by("people-open").addEventListener("click", openPeople);
by("help-open").addEventListener("click", () => openDialog("help"));
onUnsaved((count, trouble) => {
  by("saved").textContent = count ? `${count} not saved yet` : "All saved";
  if (trouble) complain(`${trouble} ${count} of your decisions ${count === 1 ? "is" : "are"} not saved; trying again.`);
  else if (state.isCutOff && !count) complain(null);
  state.isCutOff = Boolean(trouble);
});

attempt(async () => {
  state.session = await openSession();
  by("name").textContent = state.session.name;
  document.title = `Review of ${state.session.name} · labelwise`;
  setReviewer(state.session.reviewer ?? await askName("", { remembered: true }));
  await load();
});
