// A button that is held: one way down, and every way up that there is (finger, key, focus, tab, system gesture).

import { html, useEffect, useRef } from "./vendor/standalone.module.js";

const KEYS = [" ", "Enter"];

// onUp(isDeliberate): true for a finger or key lifted on the button, false for anything that tore it away.
export function HoldButton({ label, hint, className, disabled, onDown, onUp, pressed }) {
  const isHeld = useRef(false);
  const acts = useRef(null);
  acts.current = { onDown, onUp };
  const down = () => {
    if (isHeld.current || disabled) return;
    isHeld.current = true;
    acts.current.onDown();
  };
  const up = (isDeliberate) => {
    if (!isHeld.current) return;
    isHeld.current = false;
    acts.current.onUp(isDeliberate);
  };
  useEffect(() => {
    const torn = () => up(false);
    const hidden = () => document.hidden && up(false);
    window.addEventListener("blur", torn);
    window.addEventListener("pagehide", torn);
    document.addEventListener("visibilitychange", hidden);
    return () => {
      up(false);
      window.removeEventListener("blur", torn);
      window.removeEventListener("pagehide", torn);
      document.removeEventListener("visibilitychange", hidden);
    };
  }, []);
  useEffect(() => {
    if (disabled) up(false);
  }, [disabled]);
  return html`<button type="button" class=${`hold ${className || ""}`} disabled=${disabled} aria-pressed=${pressed}
    onPointerDown=${(event) => event.button === 0 && down()} onPointerUp=${() => up(true)}
    onPointerLeave=${() => up(false)} onPointerCancel=${() => up(false)} onBlur=${() => up(false)}
    onContextMenu=${(event) => event.preventDefault()}
    onKeyDown=${(event) => {
      if (!KEYS.includes(event.key)) return;
      event.preventDefault();
      if (!event.repeat) down();
    }}
    onKeyUp=${(event) => KEYS.includes(event.key) && up(true)}>
    <span class="hold-label">${label}</span><span class="hold-hint">${hint}</span></button>`;
}
