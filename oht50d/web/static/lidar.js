// The LiDAR picture: front is up. Colour only for points inside a zone, and the same points stand in the text.

import { age } from "./format.js";
import { Evidence, byZone } from "./panels.js";
import { html, useEffect, useRef } from "./vendor/standalone.module.js";

const REACH_MM = 2600;
const INK = { ground: "#d4d6d8", ring: "#8a9096", body: "#5a6066", point: "#2b3137", stop: "#b3001b", slow: "#8a4b00" };
const MARKS = { stop: INK.stop, slow: INK.slow };

export function Lidar({ lidar, safety }) {
  const canvas = useRef(null);
  useEffect(() => {
    if (canvas.current) paint(canvas.current, lidar.scan_data, safety);
  }, [lidar.scan_data, safety]);
  const { status, scan_data: scan } = lidar;
  return html`<section class="panel tall" aria-labelledby="lidar-title">
    <h2 id="lidar-title">LiDAR</h2>
    ${status.state !== "scanning" && html`<p class="alarm-line">■ ${status.state.replace("_", " ").toUpperCase()}:
      ${status.cause || "cause unknown"} → ${status.remedy || "look at its cable"}</p>`}
    <canvas ref=${canvas} role="img" aria-label=${spoken(safety)}></canvas>
    <p class="quiet">Forward is up, the LiDAR is in the middle. ${status.model || "unknown model"}${status.is_simulated ? " (simulated)" : ""},
      ${" "}${status.scan_frequency ? `${status.scan_frequency.toFixed(1)} turns/s` : "not turning"},
      last turn ${scan ? age(scan.age_ms) : "never"}${scan && scan.quality === "stale" ? ", OLD PICTURE" : ""}.</p>
    ${safety.zones.length === 0 ? html`<p>No zone is violated.</p>`
      : byZone(safety.zones).map((hit) => html`<${Evidence} key=${hit.zone} hit=${hit} />`)}
  </section>`;
}

function spoken(safety) {
  if (safety.zones.length === 0) return "LiDAR picture, no zone is violated";
  return `LiDAR picture, violated: ${byZone(safety.zones).map((hit) => `${hit.zone} zone`).join(", ")}`;
}

// The picture is in the robot's frame: the device's own angle is turned by its mounting.
function robotAngle(angleDeg, shapes) {
  return shapes.mount_angle_deg + (shapes.is_mirrored ? -angleDeg : angleDeg);
}

function paint(canvas, scan, safety) {
  const size = Math.min(canvas.clientWidth, 420);
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(size * ratio);
  const pen = canvas.getContext("2d");
  pen.scale((size * ratio) / (2 * REACH_MM), (size * ratio) / (2 * REACH_MM));
  pen.translate(REACH_MM, REACH_MM);
  const pixel = (2 * REACH_MM) / size;
  pen.fillStyle = INK.ground;
  pen.fillRect(-REACH_MM, -REACH_MM, 2 * REACH_MM, 2 * REACH_MM);
  const shapes = safety.zone_shapes;
  paintSectors(pen, pixel, safety.sectors, shapes);
  paintRings(pen, pixel, shapes.limits_mm);
  paintDevice(pen, pixel);
  if (scan) paintPoints(pen, pixel, scan, shapes);
  for (const hit of safety.zones) if (MARKS[hit.zone]) paintHit(pen, pixel, hit, shapes);
}

function place(angleDeg, distanceMm) {
  const angle = (angleDeg * Math.PI) / 180;
  return [Math.sin(angle) * distanceMm, -Math.cos(angle) * distanceMm];
}

// The rim: a thin line where the sector was seen, dashes where it was not.
function paintSectors(pen, pixel, sectors, shapes) {
  const step = 360 / sectors.length;
  pen.lineWidth = 5 * pixel;
  for (const sector of sectors) {
    const middle = (robotAngle((sector.index + 0.5) * step, shapes) * Math.PI) / 180 - Math.PI / 2;
    const half = (step * Math.PI) / 360 - 0.01;
    const isSeen = sector.quality === "good" && sector.age_ms < 1000;
    pen.strokeStyle = isSeen ? "#aab0b5" : "#5a6066";
    pen.setLineDash(isSeen ? [] : [4 * pixel, 6 * pixel]);
    pen.beginPath();
    pen.arc(0, 0, REACH_MM - 60, middle - half, middle + half);
    pen.stroke();
  }
  pen.setLineDash([]);
}

function paintRings(pen, pixel, limits) {
  pen.strokeStyle = INK.ring;
  pen.fillStyle = INK.body;
  pen.lineWidth = pixel;
  pen.font = `${11 * pixel}px system-ui, sans-serif`;
  pen.textAlign = "center";
  for (const [zone, radius] of Object.entries(limits)) {
    pen.beginPath();
    pen.arc(0, 0, radius, 0, 2 * Math.PI);
    pen.stroke();
    pen.fillText(`${zone} ${(radius / 1000).toFixed(1)} m`, 0, radius + 14 * pixel);
  }
}

// Distances count from the LiDAR, so the LiDAR is in the middle; an arrow shows the way forward.
function paintDevice(pen, pixel) {
  pen.fillStyle = pen.strokeStyle = INK.body;
  pen.lineWidth = 2 * pixel;
  pen.beginPath();
  pen.arc(0, 0, 6 * pixel, 0, 2 * Math.PI);
  pen.stroke();
  pen.beginPath();
  pen.moveTo(0, -30 * pixel);
  pen.lineTo(7 * pixel, -14 * pixel);
  pen.lineTo(-7 * pixel, -14 * pixel);
  pen.fill();
}

function paintPoints(pen, pixel, scan, shapes) {
  pen.fillStyle = scan.quality === "stale" ? "#9aa0a6" : INK.point;
  scan.angles_ddeg.forEach((angle, index) => {
    if (scan.distances_mm[index] > REACH_MM * 1.4) return;
    const [x, y] = place(robotAngle(angle / 10, shapes), scan.distances_mm[index]);
    pen.fillRect(x - pixel, y - pixel, 2 * pixel, 2 * pixel);
  });
}

// A violated point is a filled square for a stop zone and a ring for a slow zone: shape as well as colour.
function paintHit(pen, pixel, hit, shapes) {
  const isStop = hit.zone === "stop";
  pen.fillStyle = pen.strokeStyle = MARKS[hit.zone];
  pen.lineWidth = 2 * pixel;
  for (const point of hit.points) {
    const [x, y] = place(robotAngle(point.angle_deg, shapes), point.distance_mm);
    if (isStop) pen.fillRect(x - 4 * pixel, y - 4 * pixel, 8 * pixel, 8 * pixel);
    pen.beginPath();
    pen.arc(x, y, 7 * pixel, 0, 2 * Math.PI);
    pen.stroke();
  }
}
