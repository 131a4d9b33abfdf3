// STOP: sent when the finger goes down, never asks, never disabled, needs no login. Without this file the form does it.

import { accessToken } from "./api.js";

const CONFIRM_MS = 500;
const FOLLOW_MS = 250;
const DOUBT_MS = 1000;
const FOLLOW_LIMIT_MS = 60000;
const NOT_CONFIRMED = "NOT CONFIRMED: press the red button on the vehicle.";
let sentAt = -Infinity;
let presses = 0;
let tell = () => {};

function alarm() {
  tell(NOT_CONFIRMED, "alarm");
}

function show(phase) {
  const isLate = performance.now() - sentAt > CONFIRM_MS;
  if (phase === "standstill") tell(`STOPPED: standstill measured at ${new Date().toLocaleTimeString("en-GB")}.`, "good");
  else if (phase === "stopping") tell("STOPPING: the drives have confirmed, not at rest yet.", "sending");
  else if (phase !== "sending" || isLate) alarm();
}

async function press() {
  sentAt = performance.now();
  const mine = ++presses;
  tell("STOP is being sent.", "sending");
  const late = setTimeout(() => mine === presses && alarm(), CONFIRM_MS);
  const headers = accessToken() ? { Authorization: `Bearer ${accessToken()}` } : {};
  try {
    const response = await fetch("/api/v1/robot/emergency-stop", { method: "POST", headers, keepalive: true });
    const answer = await response.json();
    if (mine !== presses) return;
    const stop = answer.data;
    if (!stop) tell(answer.detail, "alarm");
    else show(response.ok ? stop.phase : "not_confirmed");
    if (stop && stop.number && !(response.ok && stop.phase === "standstill")) follow(mine, stop.number);
  } catch {
    if (mine === presses) alarm();
  } finally {
    clearTimeout(late);
  }
}

// What becomes of the stop, from the answer that needs no login; nothing is sent again. Whoever cannot be asked has
// not confirmed anything.
async function follow(mine, number) {
  let heardAt = performance.now();
  while (performance.now() - sentAt < FOLLOW_LIMIT_MS) {
    await new Promise((resume) => setTimeout(resume, FOLLOW_MS));
    const phase = await askPhase(number);
    if (mine !== presses) return;
    if (phase) {
      heardAt = performance.now();
      show(phase);
      if (phase === "standstill") return;
    } else if (performance.now() - heardAt > DOUBT_MS) alarm();
  }
  alarm();
}

// Null unless the robot speaks of this stop or a later one, and of the present.
async function askPhase(number) {
  try {
    const response = await fetch("/api/v1/safety/stop", { cache: "no-store", signal: AbortSignal.timeout(DOUBT_MS) });
    const { stop, age_ms: ageMs } = (await response.json()).data;
    return stop && stop.number >= number && ageMs < DOUBT_MS ? stop.phase : null;
  } catch {
    return null;
  }
}

export function armStop() {
  const line = document.getElementById("stop-note");
  tell = (text, kind) => {
    line.textContent = text;
    line.className = `stop-note ${kind}`;
  };
  document.getElementById("stop").addEventListener("pointerdown", press);
  document.getElementById("stop-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (performance.now() - sentAt > 700) press();
  });
}
