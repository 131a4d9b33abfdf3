// STOP: sent when the finger goes down, never asks, never disabled, needs no login. Without this file the form does it.

import { accessToken } from "./api.js";

const CONFIRM_MS = 500;
const NOT_CONFIRMED = "NOT CONFIRMED: press the red button on the vehicle.";
let sentAt = -Infinity;
let number = 0;
let note = () => {};

function tell(text, kind) {
  note(text, kind);
}

async function press() {
  sentAt = performance.now();
  const mine = ++number;
  tell("STOP is being sent.", "sending");
  const late = setTimeout(() => mine === number && tell(NOT_CONFIRMED, "alarm"), CONFIRM_MS);
  const headers = accessToken() ? { Authorization: `Bearer ${accessToken()}` } : {};
  try {
    const response = await fetch("/api/v1/robot/emergency-stop", { method: "POST", headers, keepalive: true });
    const answer = await response.json();
    if (mine !== number) return;
    if (!response.ok) tell(answer.error.code === "ESTOP_NOT_DELIVERED" ? NOT_CONFIRMED : answer.detail, "alarm");
    else tell(answer.data.outcome === "verified" ? "STOPPED: standstill measured." : "STOPPING: read back.", "good");
  } catch {
    if (mine === number) tell(NOT_CONFIRMED, "alarm");
  } finally {
    clearTimeout(late);
  }
}

// News of a stop that is on its way: the words follow the daemon's own verdict.
export function followStop(stop) {
  if (performance.now() - sentAt > 30000) return;
  if (stop.phase === "standstill") tell("STOPPED: standstill measured.", "good");
  else if (stop.phase === "not_confirmed") tell(NOT_CONFIRMED, "alarm");
}

export function armStop() {
  const line = document.getElementById("stop-note");
  note = (text, kind) => {
    line.textContent = text;
    line.className = `stop-note ${kind}`;
  };
  document.getElementById("stop").addEventListener("pointerdown", press);
  document.getElementById("stop-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (performance.now() - sentAt > 700) press();
  });
}
