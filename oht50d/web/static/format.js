// Words and numbers for people. Unknown is "unknown", never a number.

let silenceMs = 0;

// How long the robot has said nothing: every age on the page grows by it, so that nothing old looks fresh.
export function setSilence(ms) {
  silenceMs = ms;
}

export function age(knownMs) {
  if (knownMs === null || knownMs === undefined) return "never";
  const ms = knownMs + silenceMs;
  if (ms < 1000) return `${Math.round(ms)} ms ago`;
  if (ms < 120000) return `${(ms / 1000).toFixed(1)} s ago`;
  return `${Math.round(ms / 60000)} min ago`;
}

export function number(value, digits, unit) {
  if (value === null || value === undefined || typeof value !== "number") return "unknown";
  return `${value.toFixed(digits)} ${unit}`;
}

export function metres(mm) {
  return mm === null || mm === undefined ? "unknown" : `${(mm / 1000).toFixed(2)} m`;
}

export function milliseconds(value) {
  return value === null || value === undefined ? "not reached" : `${value.toFixed(0)} ms`;
}

// Degrees clockwise from the front, as a person would say them.
export function bearing(angleDeg) {
  const signed = ((angleDeg + 540) % 360) - 180;
  if (Math.abs(signed) < 0.5) return "straight ahead";
  return `${Math.abs(signed).toFixed(0)}° ${signed > 0 ? "right" : "left"}`;
}

export const STATES = {
  BOOT: "Starting", INIT: "Starting", IDLE: "Ready, standing", MOVE: "Moving", DOCK: "Docking", PAUSED: "Paused",
  CONFIG: "Service", FAULT: "Fault", ESTOP: "Emergency stop", SAFE: "Locked", SHUTDOWN: "Shutting down",
};

export const STOP_KINDS = { S0: "S0, drives off and brake on", S1: "S1, braked down", S2: "S2, held" };

export const PHASES = {
  idle: "not begun", sending: "being sent", stopping: "STOPPING: the drives have confirmed, not at rest yet",
  standstill: "at rest, measured", not_confirmed: "NOT CONFIRMED: press the red button",
};
