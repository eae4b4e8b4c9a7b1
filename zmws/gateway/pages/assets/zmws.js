// What the pages do beyond HTML: they keep fresh, show local times, and take "/" for the jump box.
"use strict";
(() => {
  const STREAMS = 4, POLL_MS = 5e3, SILENCE_MS = 25e3, ANSWER_MS = 15e3, AGAIN_MS = 3e3, TOLD_MS = 5e3;
  const body = document.body, fresh = document.getElementById("fresh"), loaded = Date.now();
  const main = () => document.getElementById("main");
  const two = n => String(n).padStart(2, "0");
  let live = body.dataset.live; // where its stream is, undefined for a page that does not change

  // Times: as here; UTC stays in the title.
  function localize(root) {
    for (const one of root.querySelectorAll("time[data-at]")) {
      const at = new Date(one.dateTime), now = new Date();
      const day = at.toDateString() === now.toDateString() ? "" :
        `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} `;
      one.textContent = `${day}${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    }
    for (const one of root.querySelectorAll("button[data-copy]")) one.hidden = false;
  }

  // Make `old` as `now` is, and leave alone what is the same, so that focus, scroll and selection stay.
  function morph(old, now) {
    if (old.isEqualNode(now)) return;
    if (old.nodeName !== now.nodeName || old.id !== now.id) return old.replaceWith(now.cloneNode(true));
    if (old.nodeType !== 1) { old.nodeValue = now.nodeValue; return; }
    // A form that somebody fills in stays as it is.
    if (old.hasAttribute("data-still") && (old.dataset.typed || old.contains(document.activeElement))) return;
    for (const { name, value } of now.attributes)
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    for (const { name } of [...old.attributes])
      if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    // What has an id is found by it, wherever it stands now; all else by its place.
    const ids = new Set([...now.children].map(one => one.id));
    let at = old.firstChild;
    for (const want of [...now.childNodes]) {
      if (want.id && (!at || at.id !== want.id)) {
        const same = [...old.children].find(one => one.id === want.id);
        if (same) { if (same !== at) old.insertBefore(same, at); at = same; }
        else { old.insertBefore(want.cloneNode(true), at); continue; }
      }
      if (!at || (!want.id && at.id && ids.has(at.id))) { old.insertBefore(want.cloneNode(true), at); continue; }
      const next = at.nextSibling;
      morph(at, want);
      at = next;
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  const words = { live: "live", away: "the broker is away", old: "reconnecting", held: "held: text is selected" };
  function show(state) {
    if (!fresh || fresh.textContent === words[state]) return;
    fresh.className = state === "held" ? "old" : state;
    fresh.textContent = words[state];
  }

  const selects = () => { const s = getSelection(); return s && !s.isCollapsed && main().contains(s.anchorNode); };
  let stream = null, poll = null, opening = false, heard = 0, release = null;
  let asking = false, again = false, held = false, isAway = false;

  function plain() {
    const url = new URL(location.href);
    for (const name of ["told", "n"]) url.searchParams.delete(name);
    return url;
  }

  async function look() {
    if (asking) { again = true; return; }
    if (selects()) { held = true; show("held"); return; }
    asking = true;
    try {
      const answer = await fetch(plain(), { headers: { accept: "text/html" }, signal: AbortSignal.timeout(ANSWER_MS) });
      if (answer.redirected && new URL(answer.url).pathname.endsWith("/login")) { location.assign(answer.url); return; }
      // What passes by changes no page that was good.
      if (answer.status === 429 || answer.status >= 500) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html"), now = page.getElementById("main");
      if (!now) return;
      if (selects()) { held = true; show("held"); return; }
      localize(now);
      const told = document.querySelector("#main > .told"), focus = document.activeElement;
      if (told && Date.now() - loaded < TOLD_MS) now.prepend(told.cloneNode(true));
      morph(main(), now);
      if (focus !== document.activeElement && focus.isConnected) focus.focus({ preventScroll: true });
      document.title = page.title;
      if (!isAway) show("live");
      if (page.body.dataset.live === undefined) { close(); live = undefined; }
    } catch {
      if (!isAway) show("old");
      if (!document.hidden) setTimeout(look, AGAIN_MS);
    } finally {
      asking = false;
      if (again) { again = false; setTimeout(look, 300); }
    }
  }

  // A browser has six connections to a host: so many pages have a stream, others ask now and then.
  async function place() {
    if (!navigator.locks) return true;
    for (let n = 0; n < STREAMS; n++) {
      const has = await new Promise(done => navigator.locks.request(`zmws-stream-${n}`, { ifAvailable: true }, lock => {
        done(!!lock);
        return lock && new Promise(free => { release = free; });
      }));
      if (has) return true;
    }
    return false;
  }

  async function open() {
    if (!live || stream || poll || opening || document.hidden) return;
    opening = true;
    const has = await place();
    opening = false;
    if (document.hidden || !live) return close();
    if (!has) { poll = setInterval(look, POLL_MS); show("live"); return; }
    heard = Date.now();
    stream = new EventSource(live);
    const on = (name, act) => stream.addEventListener(name, () => { heard = Date.now(); act(); });
    on("open", () => { if (!isAway) show("live"); });
    on("changed", look);
    on("away", () => { isAway = true; show("away"); });
    on("back", () => { isAway = false; show("live"); look(); });
    stream.onerror = () => {
      show("old");
      // A browser gives up after an answer that is no stream: the gateway is just starting, perhaps.
      if (stream && stream.readyState === 2) anew();
    };
  }
  function close() {
    if (stream) stream.close();
    if (poll) clearInterval(poll);
    if (release) release();
    stream = poll = release = null;
  }
  function anew() { close(); setTimeout(() => { open(); look(); }, AGAIN_MS); }
  setInterval(() => { if (stream && Date.now() - heard > SILENCE_MS) { show("old"); anew(); } }, POLL_MS);

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (live) { open(); look(); }
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", event => {
    for (const form of document.forms) delete form.dataset.sent;
    if (event.persisted) { open(); look(); }
  });
  document.addEventListener("selectionchange", () => { if (held && !selects()) { held = false; look(); } });
  document.addEventListener("input", event => { const form = event.target.closest("[data-still]"); if (form) form.dataset.typed = 1; });
  document.addEventListener("submit", event => {
    if (event.target.dataset.sent) event.preventDefault(); // a second click
    event.target.dataset.sent = 1;
  });
  document.addEventListener("keydown", event => {
    const at = event.target;
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(at.nodeName)) {
      event.preventDefault();
      document.getElementById("jump").focus();
    } else if (event.key === "Escape" && at.id === "jump") at.blur();
  });
  document.addEventListener("click", async event => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const from = document.getElementById(button.dataset.copy);
    try { await navigator.clipboard.writeText(from.textContent); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(from); button.textContent = "Selected: copy it"; }
  });

  localize(document);
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  if (/[?&]told=/.test(location.search)) history.replaceState(null, "", plain());
  open();
})();
