/** The dialogs: another label, the reviewer's name, the filter, agreement. */

import { cell, make, numbers, percent } from "./show.js";

const by = (id) => document.getElementById(id);
const NAME = "labelwise-reviewer";
const LISTED = 200;

/** Open a dialog; resolves with what its form was left with, "" where it was cancelled. */
export function openDialog(id) {
  const dialog = by(id);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}

/** The reviewer's name; `remembered` takes the one that this browser knows. */
export async function askName(present, { remembered = false } = {}) {
  const known = localStorage.getItem(NAME);
  if (remembered && known) return known;
  by("ask-name").value = present || known || "";
  for (;;) {
    await openDialog("ask");
    const name = by("ask-name").value.trim();
    if (name) {
      localStorage.setItem(NAME, name);
      return name;
    }
    if (present) return present;
  }
}

function matches(classes, typed) {
  const wanted = typed.trim().toLowerCase();
  const found = classes.filter((name) => name.toLowerCase().includes(wanted));
  const rank = (name) => (name.toLowerCase() === wanted ? 0 : name.toLowerCase().startsWith(wanted) ? 1 : 2);
  return found.sort((a, b) => rank(a) - rank(b)).slice(0, LISTED);
}

/** Ask for another label: one of the classes, or a number; null where none was chosen. */
export async function chooseOther(session) {
  const input = by("other-text");
  const list = by("other-list");
  const isNumber = session.task === "regression";
  let names = [];
  let place = 0;

  function mark() {
    [...list.children].forEach((option, number) => {
      option.setAttribute("aria-selected", String(number === place));
      if (number === place) option.scrollIntoView({ block: "nearest" });
    });
    if (names.length) input.setAttribute("aria-activedescendant", `option-${place}`);
    else input.removeAttribute("aria-activedescendant");
  }
  function draw() {
    names = isNumber ? [] : matches(session.classes, input.value);
    place = 0;
    list.replaceChildren(...names.map((name, number) => make("li", { role: "option", id: `option-${number}` }, cell(name))));
    const isGood = isNumber ? input.value.trim() !== "" && Number.isFinite(Number(input.value)) : names.length > 0;
    by("other-take").disabled = !isGood;
    by("other-none").textContent = isGood ? "" : isNumber ? "Type a number." : "No such label.";
    mark();
  }
  input.value = "";
  input.inputMode = isNumber ? "decimal" : "text";
  list.hidden = isNumber;
  input.oninput = draw;
  input.onkeydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !names.length) return;
    event.preventDefault();
    place = (place + step + names.length) % names.length;
    mark();
  };
  list.onclick = (event) => {
    const option = event.target.closest("li");
    if (!option) return;
    place = [...list.children].indexOf(option);
    by("other").close("take");
  };
  draw();
  if (await openDialog("other") !== "take") return null;
  return isNumber ? String(Number(input.value)) : names[place] ?? null;
}

/** Ask which labels to show; the query for the server, null where nothing was changed. */
export async function setUpFilter(session, query, fetchState) {
  const people = (await fetchState()).reviewers.map((each) => each.name);
  by("filter-by").replaceChildren(...people.map((name) => make("option", { value: name }, name)));
  const pairs = session.pairs.map(({ given, suggested, count }, number) =>
    make("option", { value: number }, `${given} → ${suggested} (${count.toLocaleString("en")})`));
  by("filter-pair").replaceChildren(make("option", { value: "" }, "any"), ...pairs);
  const showsOther = () => { by("filter-by-row").hidden = by("filter-show").value !== "others"; };
  by("filter-show").onchange = showsOther;
  by("filter-show").value = query.by ? "others" : query.show ?? "undecided";
  by("filter-score").value = query.score ?? "";
  by("filter-suspects").checked = query.suspects !== "0";
  const pair = session.pairs.findIndex((each) => each.given === query.given && each.suggested === query.suggested);
  by("filter-pair").value = pair < 0 ? "" : pair;
  if (query.by) by("filter-by").value = query.by;
  showsOther();
  if (await openDialog("filter") !== "take") return null;
  const chosen = session.pairs[by("filter-pair").value];
  const show = by("filter-show").value;
  return {
    ...(show === "others" ? { show: "decided", by: by("filter-by").value } : { show }),
    ...(chosen && { given: chosen.given, suggested: chosen.suggested }),
    ...(by("filter-score").value && { score: by("filter-score").value }),
    suspects: by("filter-suspects").checked ? "1" : "0",
  };
}

/** Fill the dialog on agreement. */
export function drawPeople(found) {
  const share = (value) => (value === null ? "–" : percent(value));
  const heads = ["Reviewer", "Decided", "With the majority"].map((head) => make("th", { scope: "col" }, head));
  const rows = found.reviewers.map((each) => make(
    "tr",
    {},
    make("th", { scope: "row" }, cell(each.name)),
    make("td", {}, each.decided.toLocaleString("en")),
    make("td", {}, share(each.agrees)),
  ));
  by("people-numbers").replaceChildren(
    numbers([
      ["Labels decided", found.decided.toLocaleString("en")],
      ["Pairs of people who agree", share(found.agreement)],
      ["Beyond chance (Fleiss' kappa)", found.kappa === null ? "–" : found.kappa.toFixed(2)],
      ["Labels on which people differ", found.conflicts.toLocaleString("en")],
      ["Labels decided otherwise when people are weighed by trust", found.trust_differs.toLocaleString("en")],
    ]),
    make("table", { className: "numbers" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)),
  );
}
