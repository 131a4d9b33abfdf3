// The operator's page: joins the parts, keeps the clock that lets old values look old.

import { call, refresh, resume, signInByLink } from "./api.js";
import { Authority, Jog, Reset, canControl, hearJog } from "./controls.js";
import { setSilence } from "./format.js";
import { Lidar } from "./lidar.js";
import { connect, disconnect, isLive, listen } from "./link.js";
import { Battery, Events, Modules, State, Stops, Why } from "./panels.js";
import { SignIn, User } from "./signin.js";
import { armStop } from "./stop.js";
import { change, onChange, read } from "./store.js";
import { html, render } from "./vendor/standalone.module.js";

const CLOCK_MS = 250;
const EVENTS_MS = 5000;
const REFRESH_MS = 2700000;

function Banners({ state, isOn }) {
  const { status, user, receivedAt, notice } = state;
  const silentS = Math.floor((performance.now() - receivedAt) / 1000);
  const isSimulated = status && status.is_simulated;
  return html`<div class="banners">
    ${isSimulated && html`<p class="banner simulated">SIMULATED: no real robot is connected.</p>`}
    ${user && !isOn && html`<p class="banner lost" role="alert">■ NO CONNECTION to the robot${receivedAt
      ? ` for ${silentS} s. Everything below is old.` : "."}</p>`}
    ${notice && html`<p class="banner notice" role="alert"><span>${notice}</span>
      <button type="button" onClick=${() => change({ notice: "" })}>Close</button></p>`}
  </div>`;
}

function Robot({ state, isOn }) {
  const { status, safety, telemetry, lidar } = state;
  if (!status) return html`<section class="panel narrow"><p role="status">Waiting for the robot.</p></section>`;
  return html`<div class=${isOn ? "grid" : "grid old"}>
    <${State} status=${status} />
    <${Why} status=${status} />
    <${Authority} state=${state} isOn=${isOn} />
    <${Reset} state=${state} isOn=${isOn} />
    <${Jog} state=${state} isOn=${isOn} />
    ${lidar && safety && html`<${Lidar} lidar=${lidar} safety=${safety} />`}
    ${safety && html`<${Stops} safety=${safety} />`}
    ${telemetry && html`<${Modules} telemetry=${telemetry} />`}
    <${Battery} battery=${status.battery} trend=${state.trend} />
    <${Events} events=${state.events} />
  </div>`;
}

function Page({ state }) {
  const isOn = canControl(state);
  setSilence(isOn || !state.receivedAt ? 0 : performance.now() - state.receivedAt);
  const name = state.status ? state.status.robot_id : "OHT-50";
  return html`<header><h1>${name}</h1><${User} user=${state.user} /></header>
    <${Banners} state=${state} isOn=${isOn} />
    <main>${state.user ? html`<${Robot} state=${state} isOn=${isOn} />` : html`<${SignIn} health=${state.health} />`}</main>`;
}

async function readEvents() {
  if (!isLive()) return;
  try {
    change({ events: (await call("/api/v1/events?limit=8")).events });
  } catch {
    // the events are a record, not a safety display: the next turn tries again, and the banner tells a lost link
  }
}

async function readHealth() {
  if (read().user) return;
  try {
    change({ health: await (await fetch("/health/ready", { signal: AbortSignal.timeout(3000) })).json() });
  } catch {
    change({ health: { error: true } });
  }
}

async function start() {
  armStop();
  onChange((state) => render(html`<${Page} state=${state} />`, document.getElementById("app")));
  document.getElementById("app").replaceChildren();
  listen({
    onJog: hearJog,
    onNews: (message) => {
      if (message.type === "status_change" && message.is_latched) change({ reset: { heldMs: null, note: "" } });
      readEvents();
    },
  });
  change({});
  setInterval(() => change({ clock: performance.now() }), CLOCK_MS);
  setInterval(readEvents, EVENTS_MS);
  setInterval(readHealth, EVENTS_MS);
  setInterval(() => read().user && read().jog.direction === null && refresh(), REFRESH_MS);
  readHealth();
  await enter();
}

async function enter() {
  try {
    await signInByLink();
    await resume();
  } catch (error) {
    change({ notice: error.message });
  }
  disconnect();
  connect();
  setTimeout(readEvents, 500);
}

// The link may be pasted into a tab that shows the page already: then only the fragment changes.
window.addEventListener("hashchange", () => location.hash && enter());

start();
