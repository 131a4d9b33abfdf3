// Sign-in, and what a person without a login may know: is the daemon well.

import { signIn, signOut } from "./api.js";
import { connect, disconnect } from "./link.js";
import { change } from "./store.js";
import { html } from "./vendor/standalone.module.js";

async function submit(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  change({ notice: "Signing in." });
  try {
    await signIn(form.get("username").trim(), form.get("password"));
    change({ notice: "" });
    connect();
  } catch (error) {
    change({ notice: error.message });
  }
}

export function SignIn({ health }) {
  return html`<section class="panel narrow" aria-labelledby="signin-title">
    <h2 id="signin-title">Sign in</h2>
    <form onSubmit=${submit}>
      <label>User name <input name="username" autocomplete="username" autocapitalize="none" required /></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
      <button type="submit">Sign in</button>
    </form>
    <p class="quiet">STOP works without signing in.</p>
    <${Health} health=${health} />
  </section>`;
}

function Health({ health }) {
  if (!health) return null;
  if (health.error) return html`<p class="alarm-line">■ The robot does not answer.</p>`;
  const bad = Object.entries(health.checks || {}).filter(([, check]) => !check.ok);
  return html`<div><p>The control program ${bad.length === 0 ? "is ready." : "is not ready:"}</p>
    <ul>${bad.map(([name, check]) => html`<li key=${name}>▲ ${name}: ${check.cause} → ${check.remedy}</li>`)}</ul></div>`;
}

export function User({ user }) {
  if (!user) return null;
  const leave = () => signOut().catch(() => {}).then(disconnect);
  return html`<p class="user"><span>${user.username} (${user.role})</span>
    <button type="button" onClick=${leave}>Sign out</button></p>`;
}
