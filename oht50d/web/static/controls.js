// Control, reset and jog: everything that needs a login. The daemon decides; this page only asks and echoes.

import { call } from "./api.js";
import { HoldButton } from "./hold.js";
import { isLive, say } from "./link.js";
import { change, claim, read } from "./store.js";
import { html } from "./vendor/standalone.module.js";

const RANKS = { viewer: 1, operator: 2, supervisor: 3, admin: 4 };
const SHORTEST_HOLD_MS = 1000;
const AT_VEHICLE = "Reset at the vehicle: hold the reset button there for one second, then let go.";

export function mayDrive(user) {
  return user !== null && RANKS[user.role] >= RANKS.operator;
}

async function command(name) {
  const carried = claim();
  if (!carried) return;
  try {
    await call("/api/v1/robot/control", { command: name, ...carried });
    change({ notice: "" });
  } catch (error) {
    change({ notice: error.message });
  }
}

export function Authority({ state, isOn }) {
  const { user, status } = state;
  if (!status || !mayDrive(user)) return null;
  const holder = status.authority.holder;
  const isMine = holder === user.username;
  return html`<section class="panel" aria-labelledby="authority-title">
    <h2 id="authority-title">Control</h2>
    <p>${holder ? html`Held by <b>${holder}</b>${isMine ? " (you)" : ""}.` : "Nobody has control."}</p>
    <button type="button" disabled=${!isOn || (!isMine && status.is_latched)}
      onClick=${() => command(isMine ? "disarm" : "arm")}>${isMine ? "Return control" : "Take control"}</button>
    ${!isMine && status.is_latched && html`<p role="status">Reset first: a reset takes control away from everybody.</p>`}
  </section>`;
}

let hold = null;

function resetDown() {
  const mine = (hold = { began: performance.now(), answer: null });
  change({ reset: { heldMs: 0, note: "" } });
  mine.answer = call("/api/v1/safety/reset", { action: "hold", ...claim() });
  mine.answer.catch((error) => hold === mine && endReset(error.message));
  mine.timer = setInterval(() => change({ reset: { heldMs: performance.now() - mine.began, note: "" } }), 50);
}

function endReset(note) {
  if (hold) clearInterval(hold.timer);
  hold = null;
  change({ reset: { heldMs: null, note } });
}

async function resetUp(isDeliberate) {
  if (!hold) return;
  const { began, answer } = hold;
  const heldMs = performance.now() - began;
  endReset("");
  if (!isDeliberate) return endReset("Not reset: the button was left before it was released.");
  if (heldMs < SHORTEST_HOLD_MS) return endReset("Not reset: hold it for one second, then let go.");
  try {
    const { hold_id } = await answer;
    const done = await call("/api/v1/safety/reset", { action: "release", hold_id, ...claim() });
    endReset(`Reset: the robot is ${String(done.state).toLowerCase()}. It does not start by itself.`);
  } catch (error) {
    endReset(`Not reset: ${error.message}`);
  }
}

export function Reset({ state, isOn }) {
  const { user, status, reset } = state;
  if (!status || !mayDrive(user) || (!status.is_latched && !reset.note)) return null;
  const held = reset.heldMs === null ? 0 : Math.min(reset.heldMs, SHORTEST_HOLD_MS);
  const atVehicle = status.is_latched && status.why.latched.some((cause) => cause.is_person_related);
  return html`<section class="panel" aria-labelledby="reset-title">
    <h2 id="reset-title">Reset</h2>
    <${HoldButton} className="reset" label="RESET" disabled=${!isOn || !status.is_latched || atVehicle}
      hint=${atVehicle ? "not from here" : held >= SHORTEST_HOLD_MS ? "now let go" : "hold for 1 s, then let go"}
      onDown=${resetDown} onUp=${resetUp} pressed=${reset.heldMs !== null} />
    <progress max=${SHORTEST_HOLD_MS} value=${held} aria-label="how long RESET is held"></progress>
    <p role="status">${atVehicle ? AT_VEHICLE : reset.note || "Make sure first that nobody is in danger. A reset is not a start."}</p>
  </section>`;
}

function jogDown(direction) {
  change({ jog: { direction, note: "" } });
  if (!say({ type: "jog_press", direction, ...claim() })) endJog("Not moving: no connection.");
}

function jogUp() {
  say({ type: "jog_release" });
  endJog("");
}

function endJog(note) {
  change({ jog: { direction: null, note } });
}

// The daemon's half of the jog: every nonce is echoed at once, but only while the button is really down.
export function hearJog(message) {
  const { jog } = read();
  if (jog.direction === null) return;
  switch (message.type) {
    case "jog_started": case "jog_nonce":
      say({ type: "jog_renew", nonce: message.nonce });
      break;
    default:
      endJog(`Stopped: ${message.message}.`);
  }
}

export function Jog({ state, isOn }) {
  const { user, status, jog } = state;
  if (!status || !mayDrive(user)) return null;
  const isMine = status.authority.holder === user.username;
  const cannot = status.is_latched ? "Reset first." : isMine ? "" : "Take control first.";
  const one = (direction, label) => html`<${HoldButton} className="jog" label=${label} hint="hold to move"
    disabled=${!isOn || cannot !== "" || (jog.direction !== null && jog.direction !== direction)}
    pressed=${jog.direction === direction} onDown=${() => jogDown(direction)} onUp=${jogUp} />`;
  return html`<section class="panel" aria-labelledby="jog-title">
    <h2 id="jog-title">Move by hand</h2>
    <div class="jogs">${one("reverse", "◀ Back")}${one("forward", "Forward ▶")}</div>
    <p role="status">${jog.direction ? `Asking to move ${jog.direction}.` : jog.note || cannot
      || "It moves only while the button is held and the way is clear."}</p>
  </section>`;
}

export function canControl(state) {
  return isLive() && state.user !== null;
}
