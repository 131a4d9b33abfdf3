// The WebSocket: subscriptions, reconnection, and the echo that keeps a held jog alive.

import { accessToken, refresh } from "./api.js";
import { change, read } from "./store.js";

const TOPICS = ["robot_status", "safety", "telemetry", "lidar"];
const LOST_MS = 1000;
const TREND_LENGTH = 120;
let socket = null;
let waitMs = 500;
let onJog = () => {};
let onNews = () => {};

export function listen(handlers) {
  onJog = handlers.onJog;
  onNews = handlers.onNews;
}

export function say(message) {
  if (!socket || socket.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(message));
  return true;
}

export function isLive() {
  const { link, receivedAt } = read();
  return link === "open" && performance.now() - receivedAt < LOST_MS;
}

export function connect() {
  const token = accessToken();
  if (!token) return;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const fresh = new WebSocket(`${scheme}://${location.host}/ws?token=${encodeURIComponent(token)}`);
  socket = fresh;
  change({ link: "opening" });
  fresh.onopen = () => {
    waitMs = 500;
    change({ link: "open", receivedAt: performance.now() });
    for (const topic of TOPICS) say({ type: "subscribe", subscription_type: topic });
  };
  fresh.onmessage = (event) => fresh === socket && take(JSON.parse(event.data));
  fresh.onclose = async (event) => {
    if (fresh !== socket) return;
    socket = null;
    onJog({ type: "jog_ended", message: "the connection was lost" });
    change({ link: "lost" });
    if (event.code === 4001) await refresh();
    setTimeout(connect, waitMs);
    waitMs = Math.min(waitMs * 2, 8000);
  };
}

export function disconnect() {
  const old = socket;
  socket = null;
  if (old) old.close();
  change({ link: "off", status: null, safety: null, telemetry: null, lidar: null });
}

function take(message) {
  const news = { receivedAt: performance.now() };
  switch (message.type) {
    case "robot_status_update": news.status = message.data; break;
    case "safety_update": news.safety = message.data; break;
    case "telemetry_update": news.telemetry = message.data; news.trend = longer(message.data); break;
    case "lidar_update": news.lidar = { ...message.data, receivedAt: news.receivedAt }; break;
    case "jog_started": case "jog_nonce": case "jog_ended": onJog(message); break;
    case "status_change": case "stop_update": onNews(message); break;
    case "error": news.notice = message.message; onJog(message); break;
    default: break;
  }
  change(news);
}

// One sample a second of the pack voltage, for the trend beside the number.
function longer(data) {
  const { trend } = read();
  const volts = data.system_telemetry.battery_voltage;
  const now = performance.now();
  const last = trend[trend.length - 1];
  if (last && now - last.at < 1000) return trend;
  const sample = { at: now, volts: volts.quality === "good" ? volts.value : null };
  return [...trend.slice(1 - TREND_LENGTH), sample];
}
