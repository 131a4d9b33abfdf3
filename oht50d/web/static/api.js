// HTTP to the daemon: envelopes, tokens in this tab only, one refresh at a time.

import { change } from "./store.js";

const KEY = "oht50.tokens";
let tokens = JSON.parse(sessionStorage.getItem(KEY) || "null");
let refreshing = null;

export function accessToken() {
  return tokens ? tokens.access_token : null;
}

function keep(answer) {
  tokens = answer ? { access_token: answer.access_token, refresh_token: answer.refresh_token } : null;
  if (tokens) sessionStorage.setItem(KEY, JSON.stringify(tokens));
  else sessionStorage.removeItem(KEY);
  change({ user: answer ? answer.user : null });
}

async function send(path, body, limitMs = 5000) {
  const headers = { Accept: "application/json" };
  if (tokens) headers.Authorization = `Bearer ${tokens.access_token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method: body === undefined ? "GET" : "POST", headers, signal: AbortSignal.timeout(limitMs),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const envelope = await response.json();
  if (!response.ok) {
    const error = new Error(envelope.detail || `the robot answered ${response.status}`);
    error.code = envelope.error ? envelope.error.code : "SYSTEM_ERROR";
    throw error;
  }
  return envelope.data;
}

// Answers the data of the envelope; throws an Error with the daemon's own sentence.
export async function call(path, body) {
  try {
    return await send(path, body);
  } catch (error) {
    if (error.code !== "INVALID_TOKEN" || !tokens || !(await refresh())) throw error;
    return send(path, body);
  }
}

export async function refresh() {
  refreshing ??= (async () => {
    try {
      keep(await send("/api/v1/auth/refresh", { refresh_token: tokens.refresh_token }));
      return true;
    } catch (error) {
      if (error.code) keep(null);
      return false;
    } finally {
      refreshing = null;
    }
  })();
  return refreshing;
}

export async function signIn(username, password) {
  keep(await send("/api/v1/auth/login", { username, password }, 15000));
}

// A one-time link is used at once and taken out of the address bar and the history.
export async function signInByLink() {
  const found = /^#sign-in=(.+)$/.exec(location.hash);
  if (!found) return;
  history.replaceState(null, "", location.pathname);
  keep(await send("/api/v1/auth/one-time", { token: decodeURIComponent(found[1]) }));
}

export async function resume() {
  if (tokens) change({ user: await call("/api/v1/auth/me") });
}

export async function signOut() {
  try {
    await send("/api/v1/auth/logout", {});
  } finally {
    keep(null);
  }
}
