// A button that is held: one way down, and every way up that there is (finger, key, focus, tab, system gesture).

import { html, useEffect, useRef } from "./vendor/standalone.module.js";

const KEYS = [" ", "Enter"];

function isWithin({ clientX, clientY }, box) {
  return clientX >= box.left && clientX <= box.right && clientY >= box.top && clientY <= box.bottom;
}

// onUp(isDeliberate): true for a finger or key lifted on the button, false for anything that tore it away.
// Whether a finger slid off is judged by where the button was when it went down: text that comes and goes above moves
// the button away under a finger that lies still, and that is no release.
export function HoldButton({ label, hint, className, disabled, onDown, onUp, pressed }) {
  const isHeld = useRef(false);
  const box = useRef(null);
  const acts = useRef(null);
  acts.current = { onDown, onUp };
  const down = () => {
    if (isHeld.current || disabled) return;
    isHeld.current = true;
    acts.current.onDown();
  };
  const press = (event) => {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    box.current = event.currentTarget.getBoundingClientRect();
    down();
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
    onPointerDown=${press} onPointerUp=${(event) => up(box.current !== null && isWithin(event, box.current))}
    onPointerMove=${(event) => isHeld.current && box.current && !isWithin(event, box.current) && up(false)}
    onPointerCancel=${() => up(false)} onLostPointerCapture=${() => up(false)} onBlur=${() => up(false)}
    onContextMenu=${(event) => event.preventDefault()}
    onKeyDown=${(event) => {
      if (!KEYS.includes(event.key)) return;
      event.preventDefault();
      box.current = null;
      if (!event.repeat) down();
    }}
    onKeyUp=${(event) => KEYS.includes(event.key) && up(true)}>
    <span class="hold-label">${label}</span><span class="hold-hint">${hint}</span></button>`;
}
