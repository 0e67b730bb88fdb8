/** Talks to the server. A decision leaves the outbox only when the server has said that it is on the disk. */

let csrf = "";
let run = "";
const outbox = [];
const listeners = new Set();
let sending = null;

/** What went wrong, in a sentence; `final` where trying again would not help, `isStale` where the session is over. */
export class Trouble extends Error {
  constructor(sentence, final, isStale = false) {
    super(sentence);
    Object.assign(this, { final, isStale });
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store" });
  } catch {
    throw new Trouble("The server does not answer. Is labelwise review still running?", false);
  }
  if (response.ok) return response.json();
  if (response.status === 422) throw new Trouble((await response.json()).error, true);
  if (response.status === 401 || response.status === 403) {
    throw new Trouble("The server was started anew: open the address that it printed, in this browser.", false, true);
  }
  throw new Trouble(`The server answered with an error (${response.status}).`, response.status < 500);
}

function send(path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": csrf };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export async function openSession() {
  const session = await ask("/api/session");
  csrf = session.csrf;
  // The run that the page shows: after another audit, positions would mean other labels.
  run ||= session.run;
  return session;
}

export const fetchBatch = (query) => ask(`/api/batch?${new URLSearchParams({ ...query, run })}`);
export const addressOf = (position, column) => `/picture/${run}/${position}/${column}`;
export const fetchState = () => ask("/api/state");
export const rerank = () => send("/api/rerank", {});

/** Hear how many decisions are not saved yet, and what keeps them. */
export function onUnsaved(listener) {
  listeners.add(listener);
}

function tell(trouble = null) {
  for (const listener of listeners) listener(outbox.length, trouble);
}

/** Put a decision into the outbox; `refused` hears of one that the server does not take. */
export function decide(decision, refused) {
  outbox.push({ decision, refused });
  tell();
  flush();
}

/** Send what is in the outbox, in order, again and again until it is saved. */
export function flush() {
  sending ??= sendAll().finally(() => { sending = null; });
  return sending;
}

async function sendAll() {
  for (let wait = 500; outbox.length;) {
    try {
      await send("/api/decide", { ...outbox[0].decision, run });
      outbox.shift();
      wait = 500;
      tell();
    } catch (trouble) {
      if (trouble.final) {
        const { refused } = outbox.shift();
        tell();
        refused(trouble.message);
        continue;
      }
      tell(trouble.message);
      // Another tab may have opened the new session by now.
      if (trouble.isStale) await openSession().catch(() => {});
      await new Promise((resolve) => { setTimeout(resolve, wait); });
      wait = Math.min(2 * wait, 8000);
    }
  }
}

/** Take back the reviewer's last decision, once all are saved. */
export async function undo(reviewer) {
  await flush();
  return send("/api/undo", { reviewer, run });
}

window.addEventListener("beforeunload", (event) => {
  if (outbox.length) event.preventDefault();
});
