// What the robot says about itself: state and why, stops, modules, battery, events.

import { PHASES, STATES, STOP_KINDS, age, bearing, metres, milliseconds, number } from "./format.js";
import { html } from "./vendor/standalone.module.js";

export function State({ status }) {
  const isStop = status.stop && status.stop.phase !== "standstill" && status.stop.phase !== "idle";
  return html`<section class="panel wide" aria-labelledby="state-title">
    <h2 id="state-title">State</h2>
    <div role="status" aria-live="polite">
      <p class="state">${STATES[status.state] || status.state}</p>
      ${isStop && html`<p class="alarm-line">■ ${PHASES[status.stop.phase]}</p>`}
      <p class="sentence">${status.why.can_move ? "▶ " : "■ "}${status.why.sentence}</p>
    </div>
    <dl class="numbers">
      <div><dt>Speed</dt><dd>${number(status.velocity_mm_s, 0, "mm/s")}</dd></div>
      <div><dt>Limit</dt><dd>${number(status.speed_limit_mm_s, 0, "mm/s")}</dd></div>
      <div><dt>Position</dt><dd>${metres(status.position_mm)}</dd></div>
      <div><dt>Commissioned</dt><dd>${status.is_commissioned ? "yes" : "no: hold-to-run only"}</dd></div>
    </dl>
  </section>`;
}

function gathered(why) {
  const found = new Map();
  for (const [kind, list] of [["STOPS", why.stopping], ["LOCKED", why.latched], ["NOT ALLOWED", why.inhibits]]) {
    for (const cause of list) {
      const known = found.get(cause.code);
      if (!known) found.set(cause.code, { ...cause, kinds: [kind], hits: cause.hit ? [cause.hit] : [], details: [cause.detail] });
      else if (!known.kinds.includes(kind)) known.kinds.push(kind);
      else if (cause.hit) known.hits.push(cause.hit);
      else if (!known.details.includes(cause.detail)) known.details.push(cause.detail); // another module or drive
    }
  }
  return [...found.values()].sort((one, other) => Boolean(other.stop) - Boolean(one.stop));
}

// One line a zone: the nearest sector speaks, with the nearest points of all its sectors.
export function byZone(hits) {
  const zones = new Map();
  for (const hit of hits) zones.set(hit.zone, [...(zones.get(hit.zone) || []), hit]);
  return [...zones.values()].map((same) => {
    const nearest = same.reduce((one, other) => (other.nearest_mm < one.nearest_mm ? other : one));
    const points = same.flatMap((hit) => hit.points).sort((one, other) => one.distance_mm - other.distance_mm);
    return { ...nearest, points, sectors: same.length };
  });
}

// What stops or locks does not allow motion either: that goes without saying.
function badge(kinds) {
  return kinds.length > 1 ? kinds.filter((kind) => kind !== "NOT ALLOWED").join(", ") : kinds[0];
}

const POINTS_TOLD = 4;

export function Why({ status }) {
  const causes = gathered(status.why);
  if (causes.length === 0) return null;
  return html`<section class="panel wide" aria-labelledby="why-title">
    <h2 id="why-title">Why it does not move</h2>
    <ul class="causes">${causes.map((cause) => html`<li key=${cause.code} class=${cause.stop ? "cause hard" : "cause"}>
      <p class="cause-title"><span class="badge">${cause.stop ? "■" : "▲"} ${badge(cause.kinds)}</span>
        ${cause.title}</p>
      ${cause.hits.length ? byZone(cause.hits).map((hit) => html`<${Evidence} hit=${hit} />`) : cause.details.map((detail) => detail && html`<p>${detail}</p>`)}
      <p class="remedy">→ ${cause.remedy}</p>
    </li>`)}</ul>
  </section>`;
}

export function Evidence({ hit }) {
  const points = hit.points.slice(0, POINTS_TOLD)
    .map((point) => `${metres(point.distance_mm)} ${bearing(point.angle_deg)}`);
  const more = hit.points.length - points.length;
  return html`<p class="evidence"><b>${hit.zone} zone</b> (${metres(hit.limit_mm)}): nearest ${metres(hit.nearest_mm)},
    seen ${age(hit.age_ms)}, by ${hit.points.length === 1 ? "1 point" : `${hit.points.length} points`}:
    ${" "}${points.join("; ")}${more > 0 ? `; and ${more} more` : ""}.</p>`;
}

export function Stops({ safety }) {
  const stops = [...(safety.stop ? [safety.stop] : []), ...safety.last_stops.slice().reverse()]
    .filter((stop, place, all) => all.findIndex((other) => other.number === stop.number) === place).slice(0, 3);
  return html`<section class="panel" aria-labelledby="stops-title">
    <h2 id="stops-title">Last stops</h2>
    ${stops.length === 0 && html`<p>None since the last start.</p>`}
    ${stops.map((stop) => html`<article key=${stop.number} class="stop-report">
      <p><b>No. ${stop.number}</b>, ${STOP_KINDS[stop.kind] || stop.kind}, ${age(stop.age_ms)}<br />
        <span class=${stop.phase === "not_confirmed" ? "alarm-line" : ""}>
          ${stop.phase === "not_confirmed" ? "■ " : ""}${PHASES[stop.phase]}</span><br />
        ${stop.causes.map((cause) => cause.title).join("; ")}</p>
      <dl class="numbers tight">
        <div><dt>Detected</dt><dd>0 ms</dd></div>
        <div><dt>Stop sent</dt><dd>${milliseconds(stop.first_frame_ms)}</dd></div>
        <div><dt>Drives at zero</dt><dd>${milliseconds(stop.output_zero_ms)}</dd></div>
        <div><dt>Standstill</dt><dd>${milliseconds(stop.standstill_ms)}</dd></div>
      </dl>
      ${stop.predicted_ms !== null && html`<p class="quiet">Predicted at most ${milliseconds(stop.predicted_ms)}.</p>`}
      ${stop.residual && html`<p class="alarm-line">▲ ${stop.residual}</p>`}
    </article>`)}
  </section>`;
}

export function Modules({ telemetry }) {
  const { bus, modules } = telemetry;
  return html`<section class="panel" aria-labelledby="modules-title">
    <h2 id="modules-title">Modules</h2>
    ${bus.is_listening && html`<p class="alarm-line">▲ Listen-only: the bus is heard, nothing is sent, not even a stop.</p>`}
    ${!bus.is_open && !bus.is_listening && html`<p class="alarm-line">■ Field bus closed: ${bus.cause} → ${bus.remedy}</p>`}
    <table><thead><tr><th>Module</th><th>State</th><th>Heard</th></tr></thead>
      <tbody>${modules.map((module) => html`<tr key=${module.addr}>
        <td>${module.name} <span class="code">${module.address}</span></td>
        <td class=${module.is_online ? "" : "alarm-line"}>${module.is_online ? "online" : "■ OFFLINE"}
          ${module.problem && html`<br /><span class="quiet">${module.problem}</span>`}</td>
        <td>${age(module.last_seen_ms)}</td></tr>`)}</tbody></table>
    <p class="quiet">${bus.port}${bus.is_simulated ? " (simulated)" : ""}, ${bus.transactions} exchanges</p>
  </section>`;
}

const BANDS = { soc: [20, 100, "%", 0], voltage: [24, 28.8, "V", 1], temperature: [0, 60, "°C", 0] };

export function Battery({ battery, trend }) {
  const row = (name, label) => {
    const [low, high, unit, digits] = BANDS[name];
    const known = battery[name];
    const isOut = known.quality === "good" && (known.value < low || known.value > high);
    return html`<tr><td>${label}</td>
      <td class=${isOut ? "warn-line" : ""}>${isOut ? "▲ " : ""}${number(known.value, digits, unit)}</td>
      <td class="quiet">${low} to ${high} ${unit}</td>
      <td class="quiet">${known.quality === "good" ? age(known.age_ms) : `${known.quality}, ${age(known.age_ms)}`}</td></tr>`;
  };
  return html`<section class="panel" aria-labelledby="battery-title">
    <h2 id="battery-title">Battery</h2>
    <table><thead><tr><th></th><th>Now</th><th>Normal</th><th>Read</th></tr></thead>
      <tbody>${row("soc", "Charge")}${row("voltage", "Voltage")}${row("temperature", "Temperature")}</tbody></table>
    <${Trend} trend=${trend} />
  </section>`;
}

// Two minutes of voltage inside its normal band, 20 to 28.8 V from bottom to top.
function Trend({ trend }) {
  const place = (volts) => 40 - ((Math.min(Math.max(volts, 20), 30) - 20) / 10) * 40;
  const points = trend.map((sample, index) => [240 - (trend.length - 1 - index) * 2, sample.volts])
    .filter(([, volts]) => volts !== null).map(([x, volts]) => `${x},${place(volts).toFixed(1)}`).join(" ");
  return html`<svg class="trend" viewBox="0 0 240 40" preserveAspectRatio="none" role="img" aria-label="voltage over the last two minutes">
    <rect x="0" y=${place(28.8)} width="240" height=${place(24) - place(28.8)} class="band" />
    <polyline points=${points} class="line" /></svg>`;
}

const SEVERITIES = { debug: "quiet", info: "quiet", warning: "warn-line" };

// The records keep the machine's names of its states; here they are told as the page tells them elsewhere.
function told({ kind, message, details }) {
  if (kind !== "robot.status.changed" || !details) return message;
  return `${STATES[details.old_status] || details.old_status} → ${STATES[details.new_status] || details.new_status}`;
}

export function Events({ events }) {
  return html`<section class="panel" aria-labelledby="events-title">
    <h2 id="events-title">Recent events</h2>
    ${events.length === 0 ? html`<p>None known.</p>` : html`<ul class="events">${events.map((event) => html`
      <li key=${`${event.boot_id}/${event.seq}`}><time>${String(event.utc).slice(11, 19)}</time>
        <span class=${SEVERITIES[event.severity] || "alarm-line"}>${String(event.severity).toUpperCase()}</span>
        <span>${told(event)}</span></li>`)}</ul>`}
  </section>`;
}
