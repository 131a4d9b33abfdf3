// The page's one state: a dated copy of what the robot said. Drawn at most once a frame.

const state = {
  user: null, link: "off", receivedAt: 0, status: null, safety: null, telemetry: null, lidar: null, events: [],
  health: null, notice: "", jog: { direction: null, note: "" }, reset: { heldMs: null, note: "" }, trend: [], clock: 0,
};
let draw = () => {};
let isDue = false;

export function read() {
  return state;
}

export function change(part) {
  Object.assign(state, part);
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    draw(state);
  });
}

export function onChange(listener) {
  draw = listener;
}

// The claim that every command carries: this boot, this epoch.
export function claim() {
  const authority = state.status ? state.status.authority : null;
  return authority ? { boot_id: authority.boot_id, epoch: authority.epoch } : null;
}
