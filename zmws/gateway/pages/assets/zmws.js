// What the pages do beyond HTML: they keep fresh, show local times, and take "/" for the jump box.
// A page works without this file; then it is as of the moment it was loaded.
"use strict";
(() => {
  const body = document.body, fresh = document.getElementById("fresh");
  const two = n => String(n).padStart(2, "0");

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
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName || old.id !== now.id) {
      old.replaceWith(now.cloneNode(true));
      return;
    }
    if (old.nodeType !== 1) {
      if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
      return;
    }
    if (old.hasAttribute("data-still") && now.hasAttribute("data-still")) return;
    for (const { name, value } of now.attributes)
      if (old.getAttribute(name) !== value && !(name === "open")) old.setAttribute(name, value);
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

  const LIVE = "live", states = { live: LIVE, away: "the broker is away", old: "reconnecting", held: "held: text is selected" };
  function show(state) {
    if (!fresh || fresh.textContent === states[state]) return;
    fresh.className = state === "held" ? "old" : state;
    fresh.textContent = states[state];
  }

  const path = body.dataset.live;
  let stream = null, asking = false, again = false, held = false, isAway = false;

  const selects = () => { const s = getSelection(); return s && !s.isCollapsed && document.getElementById("main").contains(s.anchorNode); };

  async function look() {
    if (asking) { again = true; return; }
    if (selects()) { held = true; show("held"); return; }
    asking = true;
    try {
      const url = new URL(location.href);
      for (const name of ["told", "n"]) url.searchParams.delete(name);
      const answer = await fetch(url, { headers: { accept: "text/html" }, redirect: "follow" });
      if (answer.redirected && new URL(answer.url).pathname.endsWith("/login")) { location.assign(answer.url); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = page.getElementById("main");
      if (!main) return;
      if (selects()) { held = true; show("held"); return; }
      localize(main);
      const told = document.querySelector("#main > .told");
      if (told) main.prepend(told.cloneNode(true));
      morph(document.getElementById("main"), main);
      document.title = page.title;
      show(answer.status === 503 ? "away" : "live");
      if (page.body.dataset.live === undefined) close();
    } catch { show("old"); }
    finally {
      asking = false;
      if (again) { again = false; setTimeout(look, 300); }
    }
  }

  function open() {
    if (!path || stream || document.hidden) return;
    stream = new EventSource(path);
    stream.onopen = () => { if (!isAway) show("live"); };
    stream.onerror = () => {
      show("old");
      // A browser gives up after an answer that is no stream: the gateway is just starting, perhaps.
      if (stream && stream.readyState === 2) { stream.close(); stream = null; setTimeout(() => { open(); look(); }, 2000); }
    };
    stream.addEventListener("changed", look);
    stream.addEventListener("away", () => { isAway = true; show("away"); });
    stream.addEventListener("back", () => { isAway = false; show("live"); look(); });
  }
  function close() {
    if (stream) stream.close();
    stream = null;
    if (fresh && body.dataset.live !== undefined) { fresh.className = "off"; fresh.textContent = "as of now"; }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { if (stream) stream.close(); stream = null; }
    else if (path) { open(); look(); }
  });
  document.addEventListener("selectionchange", () => { if (held && !selects()) { held = false; look(); } });
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
    const text = document.getElementById(button.dataset.copy).textContent;
    try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(document.getElementById(button.dataset.copy)); button.textContent = "Selected: copy it"; }
  });
  addEventListener("pagehide", () => { if (stream) stream.close(); stream = null; });
  addEventListener("pageshow", event => { if (event.persisted) { open(); look(); } });

  localize(document);
  if (/[?&]told=/.test(location.search)) {
    const url = new URL(location.href);
    for (const name of ["told", "n"]) url.searchParams.delete(name);
    history.replaceState(null, "", url);
  }
  open();
})();
