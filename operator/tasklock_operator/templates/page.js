"use strict";
// Fetches the part of this page that changes, and puts in what did change: focus, open details and scrolling stay.
(() => {
  const live = document.getElementById("live");
  const form = document.getElementById("filters");
  const spoken = document.getElementById("spoken");
  const pulse = document.getElementById("pulse");
  const pulseText = document.getElementById("pulse-text");
  const pause = document.getElementById("pause");
  const every = Number(document.body.dataset.refresh) * 1000;
  const sent = new WeakMap(); // element -> its HTML as the server sent it, for the visitor's own changes are no news
  let paused = false, timer = 0, failures = 0, good = Date.now(), said = 0, asking = null;

  const pieces = (root) => root.querySelectorAll("#notices, #figures, #head, #pager, #rows > tr > *, .empty");
  const remember = (root) => pieces(root).forEach((one) => sent.set(one, one.innerHTML));
  const attributes = (old, fresh) => {
    for (const name of ["class", "data-said", "data-label"]) {
      if (fresh.hasAttribute(name)) {
        if (old.getAttribute(name) !== fresh.getAttribute(name)) old.setAttribute(name, fresh.getAttribute(name));
      } else old.removeAttribute(name);
    }
  };
  const put = (old, fresh) => {
    attributes(old, fresh);
    const html = fresh.innerHTML;
    if (sent.get(old) === html) return;
    old.replaceChildren(...fresh.childNodes);
    sent.set(old, html);
  };

  const rows = (old, fresh) => {
    const before = new Map([...old.children].map((row) => [row.id, row]));
    let place = old.firstElementChild;
    for (const row of [...fresh.children]) {
      const known = before.get(row.id);
      if (known && known.children.length === row.children.length) {
        before.delete(row.id);
        attributes(known, row);
        [...row.children].forEach((cell, index) => put(known.children[index], cell));
        if (known === place) place = place.nextElementSibling;
        else old.insertBefore(known, place);
      } else {
        [...row.children].forEach((cell) => sent.set(cell, cell.innerHTML));
        row.classList.add("new");
        old.insertBefore(row, place);
      }
    }
    for (const row of before.values()) row.remove();
  };

  const swap = (html) => {
    const fresh = new DOMParser().parseFromString(html, "text/html").body;
    if (!fresh.querySelector("#box")) throw new Error("not a part of this page");
    const focused = document.activeElement;
    const inside = live.contains(focused);
    const open = [...live.querySelectorAll("details[open]")].map((one) => one.id);
    const [x, y] = [window.scrollX, window.scrollY];
    for (const id of ["notices", "figures", "pager"]) put(document.getElementById(id), fresh.querySelector("#" + id));
    const box = document.getElementById("box"), newBox = fresh.querySelector("#box");
    if (box.querySelector("#rows") && newBox.querySelector("#rows")) {
      put(document.getElementById("head"), newBox.querySelector("#head"));
      rows(document.getElementById("rows"), newBox.querySelector("#rows"));
    } else if (!(box.querySelector(".empty") && newBox.querySelector(".empty")
                 && sent.get(box.querySelector(".empty")) === newBox.querySelector(".empty").innerHTML)) {
      remember(newBox);
      box.replaceChildren(...newBox.childNodes);
    }
    for (const id of open) {
      const one = document.getElementById(id);
      if (one) one.open = true;
    }
    if (inside && document.activeElement !== focused) {
      const again = focused.isConnected ? focused : focused.id && document.getElementById(focused.id);
      (again || box).focus({ preventScroll: true });
    }
    window.scrollTo(x, y);
    speak();
  };

  const speak = () => { // not more often than somebody wants to hear it
    const text = document.getElementById("figures").dataset.said;
    if (spoken.textContent !== text && Date.now() - said > 15000) {
      said = Date.now();
      spoken.textContent = text;
    }
  };

  const tell = () => {
    pulse.classList.toggle("lost", failures > 0 && !paused);
    pulse.classList.toggle("paused", paused);
    pulseText.textContent = paused ? "Paused"
      : failures ? `No answer for ${Math.round((Date.now() - good) / 1000)} s` : "Live";
  };

  const look = async () => {
    clearTimeout(timer);
    if (asking) asking.abort();
    const mine = asking = new AbortController();
    const late = setTimeout(() => mine.abort(), 10000);
    try {
      const query = new URLSearchParams(location.search);
      query.set("part", "live");
      const answer = await fetch(`${location.pathname}?${query}`, { signal: mine.signal, cache: "no-store" });
      if (!answer.ok || answer.redirected) throw new Error(`HTTP ${answer.status}`);
      const html = await answer.text();
      if (asking !== mine) return; // the filters have changed since
      swap(html);
      failures = 0;
      good = Date.now();
    } catch {
      if (asking !== mine) return;
      failures += 1;
    } finally {
      clearTimeout(late);
    }
    tell();
    next();
  };
  const next = () => {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(look, Math.min(every * 2 ** Math.min(failures, 4), 30000));
  };

  const filter = () => {
    const query = new URLSearchParams([...new FormData(form)].filter(([name, value]) =>
      value !== "" && !(name === "sort" && value === "-age")));
    const limit = new URLSearchParams(location.search).get("limit");
    if (limit) query.set("limit", limit);
    history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
    look();
  };
  let typing = 0;
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(filter, 250);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    filter();
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    tell();
    if (paused) {
      clearTimeout(timer);
      if (asking) asking.abort();
      asking = null;
    } else look();
  });
  document.addEventListener("visibilitychange", () => (document.hidden || paused ? clearTimeout(timer) : look()));

  remember(live);
  pulse.hidden = false;
  next();
})();
