/** Draws one label: everything from outside becomes text nodes, never markup. */

import { addressOf } from "./api.js";

const SMALL = 96;
// How masks are shown stays from label to label.
const mask = { mode: "difference", opacity: 60 };

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Text of a cell; what is empty is said, and directions inside do not leak out. */
export function cell(text) {
  if (text === "") return make("span", { className: "quiet" }, "(none)");
  return make("bdi", {}, text);
}

export const percent = (share) => `${(100 * share).toFixed(share > 0.995 && share < 1 ? 1 : 0)}%`;

function picture(position, what) {
  const image = make("img", { src: addressOf(position, "picture"), alt: what });
  image.addEventListener("load", () => {
    image.classList.toggle("pixels", Math.max(image.naturalWidth, image.naturalHeight) <= SMALL);
  });
  return image;
}

function loaded(source) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = reject;
    image.src = source;
  });
}

function pixelsOf(image) {
  const canvas = make("canvas", { width: image.naturalWidth, height: image.naturalHeight });
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/** Where the two masks differ, in orange. */
function difference(given, suggested) {
  const [a, b] = [pixelsOf(given), pixelsOf(suggested)];
  for (let i = 0; i < a.data.length; i += 4) {
    const same = [0, 1, 2, 3].every((channel) => a.data[i + channel] === b.data[i + channel]);
    a.data.set(same ? [0, 0, 0, 0] : [255, 120, 0, 255], i);
  }
  return a;
}

function drawMask(canvas, given, suggested) {
  canvas.width = given.naturalWidth;
  canvas.height = given.naturalHeight;
  canvas.classList.toggle("pixels", Math.max(canvas.width, canvas.height) <= SMALL);
  const context = canvas.getContext("2d");
  if (mask.mode === "difference") context.putImageData(difference(given, suggested), 0, 0);
  else context.drawImage(mask.mode === "given" ? given : suggested, 0, 0);
}

function masks(item, session) {
  const canvas = make("canvas", { role: "img", ariaLabel: "The mask over the picture" });
  const layers = Promise.all(["given_mask", "suggested_mask"].map((column) => loaded(addressOf(item.position, column))));
  const show = () => layers.then(([given, suggested]) => drawMask(canvas, given, suggested));
  const slider = make("input", { type: "range", min: 0, max: 100, value: mask.opacity, id: "opacity" });
  const fade = () => {
    mask.opacity = slider.value;
    canvas.style.opacity = slider.value / 100;
  };
  slider.addEventListener("input", fade);
  const modes = ["difference", "given", "suggested"].map((mode) => {
    const radio = make("input", { type: "radio", name: "mask", value: mode, checked: mode === mask.mode });
    radio.addEventListener("change", () => {
      mask.mode = mode;
      show();
    });
    return make("label", {}, radio, ` ${mode}`);
  });
  fade();
  show();
  const legend = session.colours.map((colour, k) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.backgroundColor = colour;
    return make("li", {}, swatch, cell(session.classes[k]));
  });
  return [
    make("figure", { className: "masks" }, picture(item.position, `Picture, ${item.location}`), canvas),
    make("fieldset", {}, make("legend", {}, "Mask"), ...modes),
    make("label", { className: "slider" }, "Opacity ", slider),
    make("ul", { className: "legend" }, ...legend.slice(1)),
  ];
}

function table(fields) {
  const rows = fields.map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, cell(name)), make("td", {}, cell(value))));
  return make("table", {}, make("tbody", {}, ...rows));
}

function example(item, session) {
  if (item.blobs.includes("given_mask") && item.blobs.includes("suggested_mask")) return masks(item, session);
  if (item.blobs.includes("picture")) {
    return [make("figure", {}, picture(item.position, `Picture to label, ${item.location}`))];
  }
  if (item.text !== null) return [make("blockquote", { tabIndex: 0 }, cell(item.text))];
  return [make("div", { className: "fields", tabIndex: 0, role: "region", ariaLabel: "Cells of the row" }, table(item.fields))];
}

function probabilities(item) {
  if (!item.probs.length) return [];
  const rows = item.probs.map(([name, prob]) => {
    const kind = name === item.given ? "wrong" : name === item.suggested ? "right" : "plain";
    const bar = make("span", { className: `bar ${kind}` });
    bar.style.width = `${Math.max(1, 100 * prob)}%`;
    return make("tr", {}, make("th", { scope: "row" }, cell(name)), make("td", { className: "lane" }, bar), make("td", {}, percent(prob)));
  });
  return [make("h2", {}, "What the model thinks"), make("table", { className: "probs" }, make("tbody", {}, ...rows))];
}

function neighbours(item) {
  if (!item.neighbours.length) return [];
  const near = item.neighbours.map((each) => make(
    "li",
    {},
    each.blobs.includes("picture") ? picture(each.position, "") : null,
    make("span", {}, cell(each.given), each.suspect ? make("span", { className: "wrong-ink" }, " doubted") : null),
  ));
  return [make("h2", {}, "Nearest, with their given labels"), make("ul", { className: "near" }, ...near)];
}

/** Fill the page with a label. */
export function showItem(item, session, decisions) {
  const part = item.part ? [cell(item.part), ", "] : [];
  document.getElementById("question").replaceChildren(...part, cell(item.location));
  document.getElementById("seen").replaceChildren(...example(item, session));
  document.getElementById("given").replaceChildren(cell(item.given));
  document.getElementById("suggested").replaceChildren(cell(item.suggested));
  document.getElementById("why").replaceChildren(cell(item.why));
  document.getElementById("probs").replaceChildren(...probabilities(item));
  document.getElementById("near").replaceChildren(...neighbours(item));
  document.getElementById("before").replaceChildren(...decisions.map(([reviewer, word, after]) =>
    make("li", {}, cell(reviewer), `: ${word}`, ...(after ? [", ", cell(after)] : []))));
}

/** A table of names and numbers. */
export function numbers(rows) {
  return make("table", { className: "numbers" }, make("tbody", {}, ...rows.map(([name, value]) =>
    make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)))));
}
